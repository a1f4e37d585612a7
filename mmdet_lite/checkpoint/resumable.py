"""Find the checkpoint that a training goes on from."""

from collections.abc import Callable, Iterator
from pathlib import Path

from .local_file import UnreadableCheckpointError, load_from_local, peek

LAST_CHECKPOINT = "last_checkpoint"
"""The file of a work dir that names what was saved last."""
# What mmengine reads back, beside weights and optimizer. Weights to start from and
# published ones lack it.
_OF_A_TRAINING = ("meta", "message_hub", "state_dict")


def read_position(path: str | Path, schedules: bool = False) -> dict:
    """What a checkpoint says of its run: epoch, iteration, seed.

    Args:
        path: of the file.
        schedules: whether the training has any of the learning rate or the like.

    Returns:
        dict: ``meta`` of the checkpoint.

    Raises:
        UnreadableCheckpointError: it cannot be read, or lacks what mmengine would start
            anew without a word, such as the optimizer in a best checkpoint.
    """
    checkpoint = load_from_local(str(path), map_location="cpu")
    needed = [*_OF_A_TRAINING, "optimizer"] + ["param_schedulers"] * schedules
    missing = [name for name in needed if name not in checkpoint]
    meta = checkpoint.get("meta", {})
    missing += [f"meta[{name!r}]" for name in ("epoch", "iter") if name not in meta]
    if missing:
        raise UnreadableCheckpointError(
            f"{path} is no checkpoint of a training to go on with: it lacks "
            f"{', '.join(missing)}. To start from its weights, use load_from or "
            "--weights"
        )
    return meta


def named_last(work_dir: str | Path) -> str | None:
    """The path or URL that ``last_checkpoint`` of a work dir has, if it has one."""
    last = Path(work_dir) / LAST_CHECKPOINT
    return (last.is_file() and last.read_text(errors="replace").strip()) or None


def find_newest(
    work_dir: str | Path,
    say: Callable[[str], object],
    out_dir: str | Path | None = None,
    schedules: bool = False,
) -> tuple[Path, dict] | None:
    """The newest checkpoint of a training that is whole.

    What was saved last is told by the time in the checkpoint, and by its iteration
    where that is the same: a copied file has another time, and a training that was
    started once more in its folder has lower iterations. Of two that are alike the one
    in the work dir is taken.

    The best checkpoints have no optimizer, and do not count, nor do files that are of
    no training.

    Args:
        work_dir: of the training. The file that ``last_checkpoint`` names counts
            wherever it is.
        say: called with a line for each file that is passed over, and why.
        out_dir: folder that the training saves to, if it is another one.
        schedules: as of :func:`read_position`.

    Returns:
        tuple: path and ``meta``, as of :func:`read_position`; None where there is no
        checkpoint at all.

    Raises:
        UnreadableCheckpointError: there are checkpoints, but none can be gone on from.
    """
    work_dir = Path(work_dir)
    ranks: dict[Path, tuple] = {}
    other = []
    for file in _candidates(work_dir, out_dir):
        content = peek(file)
        if content is not None and not set(_OF_A_TRAINING) <= set(content):
            other.append(f"{file} holds weights, but is of no training")
            continue
        meta = {} if content is None else content["meta"]
        # What cannot be looked at is tried first, and so is told of.
        ranks[file] = (
            content is None,
            str(meta.get("time", "")),
            meta.get("iter", 0),
            file.parent == work_dir,
            file.stat().st_mtime_ns,
        )
    damaged = []
    for file in sorted(ranks, key=ranks.__getitem__, reverse=True):
        try:
            position = read_position(file, schedules)
        except UnreadableCheckpointError as error:
            damaged.append(str(error))
            continue
        for line in damaged:
            say(f"{line}; going on from {file}")
        return file, position
    if damaged:
        raise UnreadableCheckpointError(
            f"none of the {len(damaged)} checkpoints in {work_dir} can be gone on "
            f"from, the newest because: {damaged[0]}"
        )
    named = named_last(work_dir)
    if named is not None:
        other.append(f"{LAST_CHECKPOINT} of {work_dir} names {named}, which is gone")
    for line in other:
        say(f"{line}; there is nothing to go on from, the training starts")
    return None


def _candidates(work_dir: Path, out_dir: str | Path | None) -> Iterator[Path]:
    """Files that may be checkpoints, each once."""
    named = named_last(work_dir)
    last = None if named is None else Path(named)
    # What filename_tmpl of mmengine's hook has them end on.
    endings = {".pth"} | ({last.suffix} if last is not None and last.suffix else set())
    folders = [work_dir] if out_dir is None else [work_dir, Path(out_dir)]
    files = {
        file.resolve(): file
        for folder in folders
        for ending in sorted(endings)
        for file in folder.glob(f"*{ending}")
        if not file.name.startswith("best_")
    }
    if last is not None and last.is_file():
        files.setdefault(last.resolve(), last)
    yield from files.values()
