"""Break a small training again and again, and see whether anything is lost.

    python .dev_scripts/soak.py docs/measurements/soak.json --minutes 30

Trains once without disturbance, then in rounds with a fault after every start: SIGKILL
to all its processes at a random moment, while a file is written or just after, or to a
worker of the data loader; SIGTERM or SIGINT to all; a bit of the newest checkpoint
flipped, its end cut off; a disk that is full (a limit on the size of files). The
weights, averages and optimizer at the end of a round must be those of the undisturbed
run, bit for bit. The file has what was injected, survived and lost, and goes into
docs/reliability.md by .dev_scripts/reliability_page.py.
"""

import argparse
import os
import random
import shutil
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from breakable_training import (
    INTERVAL,
    ITERATIONS,
    Training,
    differing,
    prepare,
    state_of,
)

from mmdet_lite.benchmark.measurement import describe_run, save_measurement
from mmdet_lite.checkpoint.local_file import UnreadableCheckpointError
from mmdet_lite.checkpoint.resumable import LAST_CHECKPOINT
from mmdet_lite.cli import positive_int
from mmdet_lite.engine import STOPPED

_SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
_DAMAGES = ("bit flipped", "end cut off")
FAULTS = (
    *("kill", "kill during a write", "kill after a write", "kill of a worker"),
    *_SIGNALS,
    *_DAMAGES,
    "full disk",
)


@dataclass
class Tally:
    """What happened.

    Attributes:
        injected: faults, by kind.
        survived: of them, those after which the run stood where it had to.
        lost: what was lost, in words, one line a loss.
        half_written: kills that left a half-written file behind, by what was written.
        saved_on_signal: SIGTERM and SIGINT that found the training amid an epoch, all
            of whose iterations were saved.
        resumptions: starts of the training beside the first of each round.
        iterations_repeated: trained once more after a fault, in all.
        rounds: trainings that came to their end.
    """

    injected: Counter[str] = field(default_factory=Counter)
    survived: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    half_written: Counter[str] = field(default_factory=Counter)
    saved_on_signal: int = 0
    resumptions: int = 0
    iterations_repeated: int = 0
    rounds: int = 0

    def count(self, fault: str, loss: str | None) -> None:
        """Count a fault, and what was lost by it, if anything was."""
        self.injected[fault] += 1
        if loss is None:
            self.survived[fault] += 1
        else:
            self.lost.append(f"{fault}: {loss}")


class Soak:
    """Trainings that are broken.

    Args:
        folder: for data and work dirs.
        epochs: of a training.
        seed: of the faults.
    """

    def __init__(self, folder: Path, epochs: int, seed: int) -> None:
        self.folder = folder
        self.iterations = ITERATIONS * epochs
        self.choices = random.Random(seed)
        self.tally = Tally()
        self.config = prepare(folder, epochs)
        self.training = Training(self.config, folder / "undisturbed")
        started = time.monotonic()
        self.training.start()
        if not self.training.wait() or self.training.process.exitcode:
            raise SystemExit(f"the undisturbed one failed: {self.training.log()}")
        self.seconds = time.monotonic() - started
        last = self.training.work_dir / self.last
        self.size = last.stat().st_size
        self.expected = state_of(last)

    @property
    def last(self) -> str:
        """Name of the last checkpoint of a training."""
        return f"iter_{self.iterations}.pth"

    def round(self, deadline: float) -> None:
        """Train to the end with faults on the way; without, after the deadline."""
        training = Training(self.config, self.folder / f"round{self.tally.rounds}")
        self.training = training
        training.start()
        while not self.disturb(time.monotonic() < deadline):
            self.tally.resumptions += 1
            training.start()
        lost = self.tally.lost
        if status := training.process.exitcode:
            lost.append(f"ended with status {status}: {training.log()}")
        elif names := differing(self.expected, training.work_dir / self.last):
            lost.append(f"{len(names)} of {len(self.expected)} tensors differ")
        if left := training.unfinished():
            lost.append(f"a training left {', '.join(left)} behind at its end")
        self.tally.rounds += 1
        shutil.rmtree(training.work_dir)

    def disturb(self, wanted: bool) -> bool:
        """Inject a fault, if it is wanted; whether the training ended without."""
        if not wanted:
            if not self.training.wait():
                raise SystemExit(f"hangs: {self.training.log()}")
            return True
        fault = self.choices.choice(FAULTS)
        if self.ends_before(fault):
            return True
        if fault in _SIGNALS:
            ended = self.training.signal(_SIGNALS[fault])
        else:
            ended = fault == "kill of a worker" and self.training.kill_worker()
            if not ended:
                self.kill()
                ended = True
        if not ended:
            self.training.signal(signal.SIGKILL)
            self.tally.count(fault, f"it hung: {self.training.log()}")
            return False
        if self.training.process.exitcode == 0:
            return True
        loss = self.standing(fault)
        if fault in _DAMAGES and loss is None and self.training.newest() is not None:
            loss = self.damage(fault)
        elif fault == "full disk" and loss is None:
            return self.fill_disk()
        elif fault in _DAMAGES:
            fault = "kill"
        self.tally.count(fault, loss)
        return False

    def ends_before(self, fault: str) -> bool:
        """Wait for the moment of a fault; whether the training ended first."""
        if fault not in ("kill during a write", "kill after a write"):
            # Early, so that a training takes several; also before its first iteration.
            return self.training.wait(self.choices.uniform(0, 0.5) * self.seconds)
        # Of a checkpoint or of the file that names it.
        if self.training.wait_until_writing(self.choices.randint(1, 6)):
            return True
        while fault == "kill after a write" and self.training.unfinished():
            time.sleep(0.0002)
        time.sleep(self.choices.choice([0, 0, 0.001, 0.003]))
        return False

    def kill(self) -> None:
        """Kill the training and its workers, and see what it was writing."""
        self.training.signal(signal.SIGKILL)
        for name in self.training.unfinished():
            kind = "checkpoint" if ".pth" in name else LAST_CHECKPOINT
            self.tally.half_written[kind] += 1

    def standing(self, fault: str) -> str | None:
        """What was lost when the training ended by a fault, if anything was."""
        training = self.training
        status = training.process.exitcode
        newest, reached = training.newest(), training.reached()
        stands = 0 if newest is None else newest[1]
        self.tally.iterations_repeated += max(0, reached - stands)
        named = training.work_dir / LAST_CHECKPOINT
        if named.exists():
            path = Path(named.read_text())
            if not path.is_file():
                return f"{LAST_CHECKPOINT} names {path.name}, which is not there"
        saves = fault in _SIGNALS and training.trained()
        if saves and status == STOPPED:
            self.tally.saved_on_signal += 1
        # After the last iteration there is nothing left to save.
        elif saves and reached < self.iterations:
            return f"status {status} at iteration {reached}: {training.log()}"
        # Of an interval, the iteration that was being saved may be missing.
        needed = reached if saves else max(training.base, reached - INTERVAL)
        if stands < needed:
            return f"the log reached iteration {reached}, the run {stands}"
        return None

    def damage(self, fault: str) -> str | None:
        """Spoil the newest checkpoint as a bad disk or an interrupted copy does.

        Returns:
            str | None: what went wrong.
        """
        path, _ = self.training.newest()
        whole = state_of(path)
        content = bytearray(path.read_bytes())
        place = self.choices.randrange(len(content))
        if fault == "end cut off":
            content = content[:place]
        else:
            content[place] ^= 1 << self.choices.randrange(8)
        times = path.stat()
        path.write_bytes(content)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        try:
            found = self.training.newest()
        except UnreadableCheckpointError:
            # None is whole: start anew.
            for file in self.training.work_dir.glob("*.pth"):
                file.unlink()
            (self.training.work_dir / LAST_CHECKPOINT).unlink(missing_ok=True)
            return None
        # A bit between two records is nobody's.
        if found[0] == path and differing(whole, path):
            return f"{path.name} is not what it was, which was not noticed"
        return None

    def fill_disk(self) -> bool:
        """Resume where no checkpoint has room; whether there was none to be saved."""
        training = self.training
        before = training.newest()
        self.tally.resumptions += 1
        training.start(file_size=int(self.choices.uniform(0.1, 0.9) * self.size))
        if not training.wait():
            training.signal(signal.SIGKILL)
        status, after = training.process.exitcode, training.newest()
        message = training.log().splitlines()[-1]
        fine = status == 2 and "cannot be written" in message and after == before
        if fine or (status == 0 and not training.trained()):
            loss = None
        else:
            loss = f"status {status}, {before} became {after}: {message}"
        self.tally.count("full disk", loss)
        return status == 0


def main() -> None:
    """Break trainings for a time and write what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="JSON file to write")
    parser.add_argument("--minutes", type=float, default=30, help="how long")
    parser.add_argument("--epochs", type=positive_int, default=3, help="of a training")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    args = parser.parse_args()
    run = describe_run(torch.device("cpu"))
    with TemporaryDirectory() as folder:
        start = told = time.monotonic()
        soak = Soak(Path(folder), args.epochs, args.seed)
        tally = soak.tally
        deadline = start + 60 * args.minutes
        while time.monotonic() < deadline:
            soak.round(deadline)
            if time.monotonic() > told + 30:
                told = time.monotonic()
                print(
                    f"{(told - start) / 60:.1f} min, {tally.rounds} trainings, "
                    f"{tally.injected.total()} faults, {len(tally.lost)} lost",
                    flush=True,
                )
    result = {
        **run,
        "minutes": round((time.monotonic() - start) / 60, 1),
        "seed": args.seed,
        "iterations": soak.iterations,
        "tensors": len(soak.expected),
        **vars(tally),
    }
    save_measurement(args.out, result)
    if tally.lost:
        raise SystemExit("\n".join(tally.lost))


if __name__ == "__main__":
    main()
