"""Break a small training again and again, and see whether anything is lost.

    python .dev_scripts/soak.py docs/measurements/soak.json --minutes 30

Trains a Lite-DINO on a few handwritten digits once without disturbance, then in rounds
with faults: SIGKILL at a random moment or while a checkpoint is written, SIGTERM, bytes
of the newest checkpoint flipped, its end cut off, a disk that is full (a limit on the
size of files). The weights, averages and optimizer at the end of a round must be those
of the undisturbed run, bit for bit. The file has what was injected, survived and lost,
and goes into docs/reliability.md by .dev_scripts/reliability_page.py.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from mmdet_lite.checkpoint.local_file import UnreadableCheckpointError, read_protected
from mmdet_lite.checkpoint.resumable import find_newest
from mmdet_lite.cli import read_config, set_image_size
from mmdet_lite.datasets.digits import make_digits_dataset
from mmdet_lite.engine import STOPPED

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = "configs/lite_detr/lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"
LAST = "iter_{}.pth"
# Small files are written often; everything that draws random numbers is there.
OPTIONS = {
    "model.backbone.base_channels": 16,
    "model.neck.in_channels": [32, 64, 128],
    "model.num_queries": 20,
    "model.test_cfg.max_per_img": 20,
    "model.encoder.layer_cfg.ffn_cfg.feedforward_channels": 64,
    "model.decoder.layer_cfg.ffn_cfg.feedforward_channels": 64,
    "model.decoder.layer_cfg.self_attn_cfg.dropout": 0.1,
    "default_hooks.logger.interval": 1,
    "default_hooks.checkpoint.by_epoch": False,
    "default_hooks.checkpoint.interval": 2,
    "default_hooks.checkpoint.max_keep_ckpts": 3,
    "train_dataloader.batch_size": 2,
    "train_dataloader.num_workers": 2,
    "train_dataloader.persistent_workers": True,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
}
FAULTS = ("kill", "kill while writing", "terminate", "flip", "truncate", "full disk")
# What is done to a file each time that a training stands still.
DAMAGES = ("flip", "truncate") * 3


@dataclass
class Tally:
    """What happened, by kind of fault.

    Attributes:
        injected: faults.
        survived: of them, those after which the run stood where it had to.
        lost: what was lost, in words, one line a loss.
        resumptions: starts of the training beside the first of each round.
        iterations_repeated: trained once more after a fault, in all.
        rounds: trainings that came to their end.
    """

    injected: Counter[str] = field(default_factory=Counter)
    survived: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    resumptions: int = 0
    iterations_repeated: int = 0
    rounds: int = 0


class Soak:
    """A training that is broken.

    Args:
        folder: for data and work dirs.
        epochs: of a round, each of eight iterations.
        seed: of the faults.
    """

    def __init__(self, folder: Path, epochs: int, seed: int) -> None:
        self.folder = folder
        self.iterations = 8 * epochs
        self.choices = random.Random(seed)
        self.tally = Tally()
        make_digits_dataset(
            folder / "digits", num_train=16, num_val=2, image_size=128, max_digits=3
        )
        os.environ["DIGITS_ROOT"] = str(folder / "digits")
        cfg = read_config(str(REPOSITORY / CONFIG), OPTIONS)
        cfg.train_cfg.max_epochs = epochs
        cfg.train_dataloader.dataset.pipeline.insert(
            2, {"type": "RandomFlip", "prob": 0.5}
        )
        set_image_size(cfg, 64)
        cfg.custom_hooks = [{"type": "EMAHook"}]
        self.config = folder / "soak.py"
        cfg.dump(self.config)
        self.work_dir = folder / "undisturbed"
        started = time.monotonic()
        status = self.start().wait()
        self.seconds = time.monotonic() - started
        if status:
            raise SystemExit(f"the undisturbed training failed: {self.log()}")
        self.expected = state_of(self.work_dir / LAST.format(self.iterations))

    def start(self, file_size: int | None = None) -> subprocess.Popen:
        """Start or resume the training, where files may have a size at most."""

        def limit() -> None:
            if file_size is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

        self.work_dir.mkdir(exist_ok=True)
        with (self.work_dir / "output.log").open("a") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "tools/train.py", str(self.config), "--resume"),
                    *("--work-dir", str(self.work_dir)),
                ],
                cwd=REPOSITORY,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=limit,
                start_new_session=True,
            )

    def log(self) -> str:
        """The end of what the training printed."""
        return (self.work_dir / "output.log").read_text()[-2000:]

    def newest(self) -> tuple[Path, int] | None:
        """The checkpoint that a resumption would take, and its iteration."""
        found = find_newest(self.work_dir, say=lambda line: None)
        return None if found is None else (found[0], found[1]["iter"])

    def round(self, number: int, deadline: float) -> None:
        """Train to the end with faults on the way; without, after the deadline."""
        self.work_dir = self.folder / f"round{number}"
        process = self.start()
        while True:
            faults = FAULTS if time.monotonic() < deadline else ()
            ended = self.disturb(process, faults)
            if ended:
                break
            self.tally.resumptions += 1
            process = self.start()
        path = self.work_dir / LAST.format(self.iterations)
        names = differing(self.expected, path)
        if names:
            self.tally.lost.append(
                f"round {number}: {len(names)} of {len(self.expected)} tensors differ"
            )
        self.tally.rounds += 1
        shutil.rmtree(self.work_dir)

    def disturb(self, process: subprocess.Popen, faults: tuple[str, ...]) -> bool:
        """Inject a fault; whether the training had ended without."""
        if not faults:
            return self.ends_well(process)
        fault = self.choices.choice(faults)
        before = self.newest()
        if fault == "full disk":
            return self.fill_disk(process, before)
        if fault == "kill while writing":
            ended = self.wait_for_writing(process)
        else:
            ended = self.wait(process, self.choices.uniform(0.1, 1.2) * self.seconds)
        if ended:
            return self.ends_well(process)
        self.end(process, signal.SIGTERM if fault == "terminate" else signal.SIGKILL)
        after = self.newest()
        if after is not None:
            self.try_damages(after[0])
        damaged = fault in ("flip", "truncate") and after is not None
        if damaged:
            self.damage(after[0], fault)
        self.count(fault, process, before, after, damaged)
        return False

    def count(
        self,
        fault: str,
        process: subprocess.Popen,
        before: tuple[Path, int] | None,
        after: tuple[Path, int] | None,
        damaged: bool,
    ) -> None:
        """Whether the run stands where it has to after a fault."""
        if fault in ("flip", "truncate") and not damaged:
            fault = "kill"
        self.tally.injected[fault] += 1
        reached = self.reached()
        stands = 0 if after is None else after[1]
        if damaged:
            try:
                found = self.newest()
            except UnreadableCheckpointError:
                # It was the only one: start anew, as its message says.
                after[0].unlink()
                found = None
            stands = 0 if found is None else found[1]
            fine = found is None or found[0] != after[0]
        elif fault == "terminate" and process.returncode == STOPPED:
            fine = stands == reached
        else:
            # Of an interval of two, the iteration that was being saved may be missing.
            fine = stands >= reached - 2 and (before is None or stands >= before[1])
        self.tally.iterations_repeated += max(0, reached - stands)
        if fine:
            self.tally.survived[fault] += 1
        else:
            self.tally.lost.append(
                f"{fault}: the log reached iteration {reached}, the run {stands}, "
                f"status {process.returncode}"
            )

    def reached(self) -> int:
        """The last iteration that the newest log of the work dir tells of."""
        logs = sorted(self.work_dir.glob("*/vis_data/scalars.json"))
        steps = [0]
        for line in logs[-1].read_text().splitlines() if logs else ():
            try:
                row = json.loads(line)
            except ValueError:
                continue  # Killed within the line.
            if "loss" in row:
                steps.append(row["step"])
        return steps[-1]

    def fill_disk(
        self, process: subprocess.Popen, before: tuple[Path, int] | None
    ) -> bool:
        """Kill, and resume where no checkpoint has room; the old one must survive."""
        self.end(process, signal.SIGKILL)
        before = self.newest() or before
        self.tally.injected["full disk"] += 1
        limited = self.start(file_size=4_000_000)
        if limited.wait() == 0:
            # Nothing was left to save.
            self.tally.survived["full disk"] += 1
            return True
        after = self.newest()
        message = "cannot" in self.log().splitlines()[-1]
        if limited.returncode == 2 and message and after == before:
            self.tally.survived["full disk"] += 1
        else:
            self.tally.lost.append(
                f"full disk: status {limited.returncode}, {before} became {after}: "
                f"{self.log().splitlines()[-1]}"
            )
        return False

    def try_damages(self, path: Path) -> None:
        """Damage the newest file and make it good, several times.

        Each time it must be noticed, and an older one be found if there is one.
        """
        content, times = path.read_bytes(), path.stat()
        state = state_of(path)
        for fault in DAMAGES:
            self.damage(path, fault)
            self.tally.injected[fault] += 1
            try:
                found = self.newest()
            except UnreadableCheckpointError:
                found = None
            # A bit between two records is nobody's.
            if found is None or found[0] != path or not differing(state, found[0]):
                self.tally.survived[fault] += 1
            else:
                self.tally.lost.append(f"{fault} of {path.name} was not noticed")
            path.write_bytes(content)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def damage(self, path: Path, fault: str) -> None:
        """Spoil a file as a bad disk or an interrupted copy does."""
        content = bytearray(path.read_bytes())
        if fault == "truncate":
            content = content[: self.choices.randrange(len(content))]
        else:
            # One bit among the weights, which PyTorch would load without a word.
            place = self.choices.randrange(len(content) // 4, 3 * len(content) // 4)
            content[place] ^= 1 << self.choices.randrange(8)
        stat = path.stat()
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def wait(self, process: subprocess.Popen, seconds: float) -> bool:
        """Whether the training ends within a time."""
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait_for_writing(self, process: subprocess.Popen) -> bool:
        """Wait until a checkpoint is half written; whether the training ended first."""
        skipped = self.choices.randrange(3)
        while process.poll() is None:
            if any(self.work_dir.glob("*.unfinished")):
                if not skipped:
                    return False
                skipped -= 1
                time.sleep(0.2)
            time.sleep(0.0005)
        return True

    def end(self, process: subprocess.Popen, number: signal.Signals) -> None:
        """Send a signal; SIGKILL to the workers of the data loader, too."""
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        process.wait()

    def ends_well(self, process: subprocess.Popen) -> bool:
        """Wait for the end; what ends otherwise than well is a loss."""
        if process.wait():
            self.tally.lost.append(
                f"status {process.returncode}: {self.log().splitlines()[-1]}"
            )
            raise SystemExit(self.log())
        return True


def state_of(path: Path) -> dict[str, Any]:
    """Weights, averages and optimizer of a checkpoint, flat."""
    checkpoint = read_protected(path, weights_only=True)
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


def differing(state: dict[str, Any], path: Path) -> list[str]:
    """Names under which a checkpoint holds something else."""
    other = state_of(path)
    return [name for name in state if not torch.equal(state[name], other[name])]


def main() -> None:
    """Break trainings for a time and write what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="JSON file to write")
    parser.add_argument("--minutes", type=float, default=30, help="how long")
    parser.add_argument("--epochs", type=int, default=3, help="of a training")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        start = time.monotonic()
        soak = Soak(Path(folder), args.epochs, args.seed)
        deadline = start + 60 * args.minutes
        while time.monotonic() < deadline:
            soak.round(soak.tally.rounds, deadline)
            tally = soak.tally
            print(
                f"{(time.monotonic() - start) / 60:.1f} min, {tally.rounds} trainings, "
                f"{tally.injected.total()} faults, {len(tally.lost)} lost",
                flush=True,
            )
    result = {
        "minutes": round((time.monotonic() - start) / 60, 1),
        "seed": args.seed,
        "iterations": soak.iterations,
        "tensors": len(soak.expected),
        **vars(soak.tally),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    if soak.tally.lost:
        raise SystemExit("\n".join(soak.tally.lost))


if __name__ == "__main__":
    main()
