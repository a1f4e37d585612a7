"""Find the checkpoint that a training goes on from."""

import itertools
from collections.abc import Callable
from pathlib import Path

from .local_file import UnreadableCheckpointError, load_from_local

# What mmengine reads back, beside weights and optimizer.
_NEEDED = ("meta", "message_hub", "state_dict")


def read_position(path: str | Path) -> dict:
    """What a checkpoint says of its run: epoch, iteration, seed.

    Args:
        path: of the file.

    Returns:
        dict: ``meta`` of the checkpoint.

    Raises:
        UnreadableCheckpointError: it cannot be read, or holds weights only.
    """
    checkpoint = load_from_local(str(path), map_location="cpu")
    missing = [name for name in _NEEDED if name not in checkpoint]
    if not missing:
        meta = checkpoint["meta"]
        missing = [f"meta[{name!r}]" for name in ("epoch", "iter") if name not in meta]
    if missing:
        raise UnreadableCheckpointError(
            f"{path} is no checkpoint of a training to go on with: it lacks "
            f"{', '.join(missing)}. To start from its weights, use load_from"
        )
    return meta


def find_newest(
    work_dir: str | Path, say: Callable[[str], object]
) -> tuple[Path, dict] | None:
    """The newest checkpoint of a training that is whole.

    The best checkpoints hold weights only, and do not count.

    Args:
        work_dir: of the training. Where ``last_checkpoint`` names another folder, that
            one counts as well.
        say: called with a line for each newer file that is passed over, and why.

    Returns:
        tuple: path and ``meta``, as of :func:`read_position`; None where there is no
        checkpoint at all.

    Raises:
        UnreadableCheckpointError: there are checkpoints, but none is whole.
    """
    work_dir = Path(work_dir)
    folders = {work_dir}
    last = work_dir / "last_checkpoint"
    if last.is_file() and (named := last.read_text(errors="replace").strip()):
        folders.add(Path(named).parent)
    files = [
        file
        for file in itertools.chain(*(folder.glob("*.pth") for folder in folders))
        if not file.name.startswith("best_")
    ]
    files.sort(key=lambda file: file.stat().st_mtime_ns, reverse=True)
    damaged = []
    for file in files:
        try:
            position = read_position(file)
        except UnreadableCheckpointError as error:
            damaged.append(str(error))
            continue
        for line in damaged:
            say(f"{line}; going on from {file}, which is older")
        return file, position
    if damaged:
        raise UnreadableCheckpointError(
            f"none of the {len(files)} checkpoints in {work_dir} can be gone on from, "
            f"the newest because: {damaged[0]}"
        )
    return None
