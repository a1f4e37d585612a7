"""A small training in a process of its own, which .dev_scripts/soak.py breaks.

It is tools/train.py as it stands, with a Lite-DINO on a few handwritten digits:
averaged weights, dropout, flipped images, two workers, a checkpoint every second
iteration. A process is a fork of this one, which has imported everything.
"""

import gc
import multiprocessing
import os
import resource
import runpy
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import mmengine.config.config
import torch
from mmdet.utils import register_all_modules

from mmdet_lite.checkpoint.durable import UNFINISHED
from mmdet_lite.checkpoint.local_file import read_protected
from mmdet_lite.checkpoint.resumable import find_newest
from mmdet_lite.cli import read_config, set_image_size
from mmdet_lite.datasets.digits import make_digits_dataset
from mmdet_lite.run_logs import read_training_log

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = "configs/lite_detr/lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"
ITERATIONS = 8  # Of an epoch.
INTERVAL = 2  # Iterations from checkpoint to checkpoint.
# Longer than any training of these takes on a loaded core.
PATIENCE = 300.0
_ATTENTIONS = ("encoder.{}.self", "decoder.{}.self", "decoder.{}.cross")
# Small files are written often; everything that draws random numbers is there.
OPTIONS = {
    "model.backbone.base_channels": 8,
    "model.neck.in_channels": [16, 32, 64],
    "model.neck.out_channels": 32,
    "model.neck.norm_cfg.num_groups": 4,
    "model.bbox_head.embed_dims": 32,
    "model.num_queries": 20,
    "model.test_cfg.max_per_img": 20,
    "model.positional_encoding.num_feats": 16,
    "model.encoder.num_layers": 2,
    "model.encoder.num_blocks": 1,
    "model.decoder.num_layers": 2,
    **{
        f"model.{part}.layer_cfg.ffn_cfg.{name}": channels
        for part in ("encoder", "decoder")
        for name, channels in (("embed_dims", 32), ("feedforward_channels", 64))
    },
    **{
        f"model.{name.format('layer_cfg')}_attn_cfg.embed_dims": 32
        for name in _ATTENTIONS
    },
    "model.decoder.layer_cfg.self_attn_cfg.dropout": 0.1,
    "default_hooks.logger.interval": 1,
    "default_hooks.checkpoint.by_epoch": False,
    "default_hooks.checkpoint.interval": INTERVAL,
    "default_hooks.checkpoint.max_keep_ckpts": 3,
    "train_dataloader.batch_size": 2,
    "train_dataloader.num_workers": 2,
    "train_dataloader.persistent_workers": True,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
}


def prepare(folder: Path, epochs: int) -> Path:
    """Make data and config, and this process ready to be forked.

    Args:
        folder: for them.
        epochs: of a training.

    Returns:
        Path: of the config.
    """
    torch.set_num_threads(1)  # A fork has none of the others.
    register_all_modules(init_default_scope=True)
    # mmengine lays out the config in every checkpoint, which takes two thirds of the
    # time of such a training.
    mmengine.config.config.FormatCode = lambda text, **options: (text, True)
    make_digits_dataset(
        folder / "digits",
        num_train=2 * ITERATIONS,
        num_val=2,
        image_size=128,
        max_digits=3,
    )
    os.environ["DIGITS_ROOT"] = str(folder / "digits")
    cfg = read_config(str(REPOSITORY / CONFIG), OPTIONS)
    cfg.train_cfg.max_epochs = epochs
    cfg.train_dataloader.dataset.pipeline.insert(2, {"type": "RandomFlip", "prob": 0.5})
    set_image_size(cfg, 64)
    cfg.custom_hooks = [{"type": "EMAHook"}]
    cfg.dump(folder / "soak.py")
    gc.freeze()
    return folder / "soak.py"


class Training:
    """One work dir, and the process that trains in it.

    Args:
        config: of :func:`prepare`.
        work_dir: of the training; it is made.

    Attributes:
        process: the last one that was started.
        base: iteration at which it started.
    """

    process: BaseProcess

    def __init__(self, config: Path, work_dir: Path) -> None:
        self.config = config
        self.work_dir = work_dir
        self.base = 0
        self._rows_before = 0
        work_dir.mkdir()

    def start(self, file_size: int | None = None) -> None:
        """Start or resume it, where files may have so many bytes at most."""
        newest = self.newest()
        self.base = 0 if newest is None else newest[1]
        self._rows_before = len(self._steps())
        self.process = multiprocessing.get_context("fork").Process(
            target=_train, args=(self.config, self.work_dir, file_size)
        )
        self.process.start()

    def wait(self, seconds: float = PATIENCE) -> bool:
        """Whether it ends within a time."""
        self.process.join(seconds)
        return self.process.exitcode is not None

    def wait_until_writing(self, count: int) -> bool:
        """Wait until it writes a file for the so-manieth time; whether it ended first.

        Args:
            count: 1 for the next time.
        """
        writing = True
        while self.process.is_alive():
            if writing != (writing := bool(self.unfinished())) and writing:
                count -= 1
                if count == 0:
                    return False
            time.sleep(0.0005)
        return True

    def unfinished(self) -> list[str]:
        """Names of the files that are half written."""
        return [
            entry.name
            for entry in os.scandir(self.work_dir)
            if entry.name.endswith(UNFINISHED)
        ]

    def signal(self, number: signal.Signals) -> bool:
        """Signal it and its workers; whether it ended by it or for itself."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            # It has no group of its own before it runs, and none after its end.
            if self.process.is_alive():
                os.kill(self.process.pid, number)
        return self.wait()

    def kill_worker(self) -> bool:
        """Kill a worker of its data loader; whether there was one and it ended."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if not children:
            return False
        os.kill(int(children[0]), signal.SIGKILL)
        return self.wait()

    def newest(self) -> tuple[Path, int] | None:
        """The checkpoint that a resumption would take, and its iteration.

        Raises:
            UnreadableCheckpointError: there are some, but none is whole.
        """
        found = find_newest(self.work_dir, say=lambda line: None)
        return None if found is None else (found[0], found[1]["iter"])

    def trained(self) -> bool:
        """Whether the last process came to train."""
        return self.reached() > self.base

    def reached(self) -> int:
        """The last iteration that the last process tells of in its log."""
        return max([self.base, *self._steps()[self._rows_before :]])

    def _steps(self) -> list[int]:
        log = read_training_log(self.work_dir)
        return [row["step"] for row in log if "loss" in row]

    def log(self) -> str:
        """The end of what it printed."""
        return _log_of(self.work_dir).read_text(errors="replace")[-2000:].strip()


def _log_of(work_dir: Path) -> Path:
    return work_dir / "output.log"


def _train(config: Path, work_dir: Path, file_size: int | None) -> None:
    """tools/train.py, in a fork."""
    os.setsid()
    with _log_of(work_dir).open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    script = str(REPOSITORY / "tools" / "train.py")
    sys.argv = [script, str(config), "--resume", "--work-dir", str(work_dir)]
    runpy.run_path(script, run_name="__main__")


def state_of(path: Path) -> dict[str, torch.Tensor]:
    """Weights, averages and optimizer of a checkpoint, flat."""
    checkpoint: dict[str, Any] = read_protected(path, weights_only=True)
    moments = checkpoint["optimizer"]["state"]
    return {
        **checkpoint["state_dict"],
        **{f"ema {n}": value for n, value in checkpoint["ema_state_dict"].items()},
        **{
            f"moment {number} {name}": value
            for number, state in moments.items()
            for name, value in state.items()
        },
    }


def differing(state: dict[str, torch.Tensor], path: Path) -> list[str]:
    """Names under which a checkpoint holds something else, or nothing."""
    other = state_of(path)
    return [
        name
        for name in {**state, **other}
        if name not in state
        or name not in other
        or not torch.equal(state[name], other[name])
    ]
