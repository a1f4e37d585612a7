"""What a job launcher has to tell its processes, and which of them is the first."""

import os

from ..errors import ConfigError

# What mmengine reads of each launcher, its rank first.
_VARIABLES = {
    "none": (),
    "pytorch": ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NODELIST"),
    "mpi": (
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "MASTER_ADDR",
    ),
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
    missing = [name for name in _VARIABLES[launcher] if name not in os.environ]
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
    variables = _VARIABLES[launcher]
    return not variables or os.environ.get(variables[0], "0") == "0"
