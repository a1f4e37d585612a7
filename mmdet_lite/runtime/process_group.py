"""Connect the processes of a run, on GPUs and without any."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_distributed
from mmengine.registry import MODEL_WRAPPERS
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from ..errors import ConfigError
from .launcher import RANK_VARIABLES


@contextmanager
def process_group(cfg: Config) -> Iterator[None]:
    """Connect the processes of a run while the block lasts, if there are several.

    mmengine's runner connects them where there are GPUs, by NCCL. Without a GPU it
    fails in ``torch.cuda.set_device``; here they are connected by Gloo before it
    starts, and the config tells it to leave the model where it is.

    Args:
        cfg: a whole config with its ``launcher``; it is changed.

    Raises:
        ConfigError: there are fewer GPUs than processes on this machine.
    """
    launcher = cfg.get("launcher", "none")
    if launcher != "none":
        if get_device() == "cpu":
            _connect_without_gpu(cfg, launcher)
        elif get_device() == "cuda":
            _require_gpu(launcher)
    yield
    # After an error the others may not be there any more to agree.
    if is_distributed():
        distributed.destroy_process_group()


def _connect_without_gpu(cfg: Config, launcher: str) -> None:
    for name, source in RANK_VARIABLES[launcher].items():
        os.environ[name] = os.environ.get(source, "0")
    if launcher == "slurm" and "MASTER_ADDR" not in os.environ:
        os.environ["MASTER_ADDR"] = _first_host(os.environ["SLURM_NODELIST"])
    os.environ.setdefault("MASTER_PORT", "29500")
    settings = dict(cfg.get("env_cfg", {}).get("dist_cfg") or {})
    settings = {key: settings[key] for key in ("timeout",) if key in settings}
    if "timeout" in settings:
        settings["timeout"] = timedelta(seconds=settings["timeout"])
    distributed.init_process_group("gloo", **settings)

    # By default mmengine gives every process the GPU of its number.
    wrapper = cfg.get("model_wrapper_cfg") or {
        "broadcast_buffers": False,
        "find_unused_parameters": cfg.get("find_unused_parameters", False),
    }
    wrapper.setdefault("type", "MMDistributedDataParallel")
    kind = MODEL_WRAPPERS.get(wrapper["type"])
    if kind is not None and issubclass(kind, DistributedDataParallel):
        wrapper.setdefault("device_ids", None)
    cfg.model_wrapper_cfg = wrapper


def _first_host(nodes: str) -> str:
    command = ["scontrol", "show", "hostnames", nodes]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(
            f"--launcher slurm: {' '.join(command)} does not work ({error}); set "
            "MASTER_ADDR to the first machine of the job"
        ) from error
    return shown.stdout.split()[0]


def _require_gpu(launcher: str) -> None:
    variable = RANK_VARIABLES[launcher]["LOCAL_RANK"]
    rank, gpus = int(os.environ.get(variable, "0")), torch.cuda.device_count()
    if rank >= gpus:
        raise ConfigError(
            f"process {rank + 1} of this machine has no GPU, there are {gpus}: start "
            "as many processes, or hide the GPUs by CUDA_VISIBLE_DEVICES= to run on "
            "processors"
        )
