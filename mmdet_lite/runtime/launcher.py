"""What a job launcher has to tell its processes, and which of them is the first."""

import os

from ..errors import ConfigError

# What each launcher sets, by what PyTorch reads.
RANK_VARIABLES = {
    "pytorch": {"RANK": "RANK", "WORLD_SIZE": "WORLD_SIZE", "LOCAL_RANK": "LOCAL_RANK"},
    "slurm": {
        "RANK": "SLURM_PROCID",
        "WORLD_SIZE": "SLURM_NTASKS",
        "LOCAL_RANK": "SLURM_LOCALID",
    },
    "mpi": {
        "RANK": "OMPI_COMM_WORLD_RANK",
        "WORLD_SIZE": "OMPI_COMM_WORLD_SIZE",
        "LOCAL_RANK": "OMPI_COMM_WORLD_LOCAL_RANK",
    },
}
# What mmengine reads beside them, to find the first machine.
_PLACE_VARIABLES = {
    "pytorch": ("MASTER_ADDR", "MASTER_PORT"),
    "slurm": ("SLURM_NODELIST",),
    "mpi": ("MASTER_ADDR",),
}
_STARTED_BY = {
    "pytorch": "tools/dist_train.sh or tools/dist_test.sh",
    "slurm": "tools/slurm_train.sh",
    "mpi": "mpirun, with MASTER_ADDR set",
}


def require_launcher(launcher: str) -> None:
    """Refuse a launcher that did not start this process.

    Args:
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Raises:
        ConfigError: one of its environment variables is not set.
    """
    if launcher == "none":
        return
    wanted = [*RANK_VARIABLES[launcher].values(), *_PLACE_VARIABLES[launcher]]
    missing = [name for name in wanted if name not in os.environ]
    if missing:
        raise ConfigError(
            f"--launcher {launcher} needs {', '.join(missing)} in the environment: "
            f"start by {_STARTED_BY[launcher]}, or leave --launcher out"
        )


def is_first_process(launcher: str) -> bool:
    """Whether this process is to do what one has to do for all.

    Args:
        launcher: as :func:`require_launcher`, which was called before.
    """
    if launcher == "none":
        return True
    return os.environ.get(RANK_VARIABLES[launcher]["RANK"], "0") == "0"
