"""Start a tool in several processes; where one of them fails, say why once.

tools/dist_train.sh and tools/dist_test.sh call this. It takes the arguments of torchrun
and does what torchrun does, but ends with the line of the process that failed first
and with its status, where torchrun writes a report of all. Without a GPU the processes
share the processor's cores. NNODES, NODE_RANK, MASTER_ADDR and PORT name several
machines.
"""

import logging
import os
import signal
import sys
from pathlib import Path

import torch
from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import (
    ChildFailedError,
    ProcessFailure,
)
from torch.distributed.run import parse_args, run

# Exit statuses of the tools: something to be mended, and saved after a signal.
_TO_BE_MENDED, _STOPPED = 2, 75


def main() -> None:
    """Start the processes and wait for them."""
    args = parse_args([*_meeting(), *sys.argv[1:]])
    if not torch.cuda.is_available() and args.nproc_per_node.isdigit():
        share = max(1, len(os.sched_getaffinity(0)) // max(1, int(args.nproc_per_node)))
        os.environ.setdefault("OMP_NUM_THREADS", str(share))
        os.environ.setdefault("MKL_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
    # torchrun's own account of what is said below.
    logging.disable(logging.ERROR)
    try:
        run(args)
    except ChildFailedError as error:
        rank, failure = _first(error.failures)
        _tell(rank, failure)
        status = failure.exitcode
        raise SystemExit(status if status > 0 else 128 - status) from None
    except SignalException as error:
        name = signal.Signals(error.sigval).name
        print(f"{name}: all processes ended; --resume goes on", file=sys.stderr)
        raise SystemExit(128 + error.sigval) from None
    except (DistError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        print(f"error: the processes cannot be started: {reason}", file=sys.stderr)
        raise SystemExit(2) from None


def _meeting() -> list[str]:
    """Where the processes find one another; on a free port if there is one machine."""
    given = os.environ.get
    if not given("NNODES") and not given("PORT"):
        return ["--standalone"]
    return [
        f"--nnodes={given('NNODES') or 1}",
        f"--node-rank={given('NODE_RANK') or 0}",
        f"--master-addr={given('MASTER_ADDR') or '127.0.0.1'}",
        f"--master-port={given('PORT') or 29500}",
    ]


def _first(failures: dict[int, ProcessFailure]) -> tuple[int, ProcessFailure]:
    """The failure that the others followed from, with its rank."""
    # torchrun ends those that are left by SIGTERM, and half a minute later by SIGKILL.
    latest = min(_time(failure) for failure in failures.values()) + 10
    own = {
        rank: failure
        for rank, failure in failures.items()
        if failure.exitcode != -signal.SIGTERM and _time(failure) < latest
    }
    # Whoever loses a process to another failure has status 1 within moments.
    order = (_TO_BE_MENDED, _STOPPED)

    def key(item: tuple[int, ProcessFailure]) -> tuple[int, float]:
        code = item[1].exitcode
        by_signal = len(order) if code < 0 else len(order) + 1
        return order.index(code) if code in order else by_signal, _time(item[1])

    return min((own or failures).items(), key=key)


def _time(failure: ProcessFailure) -> float:
    file = Path(failure.error_file)
    return file.stat().st_mtime if file.is_file() else failure.timestamp


def _tell(rank: int, failure: ProcessFailure) -> None:
    """Say why a process failed, unless it has said so itself."""
    if isinstance(failure.message, dict):
        message = failure.message["message"]
        if failure.exitcode != _TO_BE_MENDED:
            message = f"process {rank}: {failure.message['extraInfo']['py_callstack']}"
        print(f"error: {message.removeprefix('ConfigError: ')}", file=sys.stderr)
    elif failure.exitcode < 0:
        name = failure.signal_name()
        print(f"error: process {rank} was ended by {name}", file=sys.stderr)
    elif failure.exitcode not in (_TO_BE_MENDED, _STOPPED):
        status = failure.exitcode
        print(f"error: process {rank} ended with status {status}", file=sys.stderr)


if __name__ == "__main__":
    main()
