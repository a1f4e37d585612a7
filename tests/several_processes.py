"""A script in several processes that find each other, as torchrun starts them."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from subprocess import CompletedProcess

from python_process import run_python


def run_in_several(num_processes: int, *arguments: object) -> list[CompletedProcess]:
    """What :func:`run_python` returns of each, in the order of their ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(rank: int) -> CompletedProcess:
        variables = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": num_processes,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        env = {**os.environ, **{name: str(value) for name, value in variables.items()}}
        return run_python(*arguments, env=env)

    with ThreadPoolExecutor(num_processes) as pool:
        return list(pool.map(run, range(num_processes)))
