"""Save checkpoints so that a whole one is there at any moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..checkpoint.durable import UNFINISHED, DurableBackend, write_durably
from ..checkpoint.resumable import LAST_CHECKPOINT
from ..errors import ConfigError


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """mmengine's hook, with files that are whole and old ones that go last.

    mmengine removes the file that ``max_keep_ckpts`` or a better score puts out of use
    before it writes the next one, and writes in place. Here a file takes its name when
    it is whole and on the disk, then ``last_checkpoint`` names it, and then the old one
    goes. Remote storage is left as mmengine has it.

    Args:
        *args: of mmengine's hook, with **kwargs.
    """

    backend_args: dict[str, str] | None

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        remote = "://" in str(self.out_dir or "")
        if not remote and not self.backend_args and not self.file_client_args:
            self.backend_args = {"backend": "durable"}

    @property
    def is_local(self) -> bool:
        """Whether checkpoints are files of this machine."""
        return self.backend_args == {"backend": "durable"}

    def before_train(self, runner: Runner) -> None:
        """Prepare as mmengine does; sweep up what a killed run left half written."""
        super().before_train(runner)
        if self.is_local:
            self.file_backend = _RemovesLater()
            if is_main_process():
                for file in Path(self.out_dir).glob(f"*.pth{UNFINISHED}"):
                    file.unlink()
                named = Path(runner.work_dir) / f"{LAST_CHECKPOINT}{UNFINISHED}"
                named.unlink(missing_ok=True)

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Save where iterations are counted."""
        with self._one_after_the_other():
            super().after_train_iter(runner, *args, **kwargs)

    def after_train_epoch(self, runner: Runner) -> None:
        """Save where epochs are counted."""
        with self._one_after_the_other():
            super().after_train_epoch(runner)

    def after_val_epoch(self, runner: Runner, *args, **kwargs) -> None:
        """Save the best."""
        with self._one_after_the_other():
            super().after_val_epoch(runner, *args, **kwargs)

    def save_now(self, runner: Runner, filename: str) -> None:
        """Save after an iteration of training, whatever the interval.

        Args:
            runner: in ``after_train_iter``.
            filename: without folder. It does not count among ``max_keep_ckpts``.
        """
        with self._one_after_the_other():
            runner.save_checkpoint(
                self.out_dir,
                filename,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta={"epoch": runner.epoch, "iter": runner.iter + 1},
                by_epoch=False,
                backend_args=self.backend_args,
            )
            self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
            self._name_last(runner)

    def _save_checkpoint_with_step(self, runner: Runner, *args, **kwargs) -> None:
        """Have mmengine write ``last_checkpoint`` elsewhere, which it does in place.

        A kill amid it would leave a file that names nothing.
        """
        if not self.is_local:
            super()._save_checkpoint_with_step(runner, *args, **kwargs)
            return
        with TemporaryDirectory() as elsewhere:
            super()._save_checkpoint_with_step(
                _WithWorkDir(runner, elsewhere), *args, **kwargs
            )
        self._name_last(runner)

    def _name_last(self, runner: Runner) -> None:
        if is_main_process():
            write_durably(
                Path(runner.work_dir) / LAST_CHECKPOINT, str(self.last_ckpt).encode()
            )

    @contextmanager
    def _one_after_the_other(self) -> Iterator[None]:
        """Remove old files after the new ones are written, and not if they fail.

        Raises:
            ConfigError: a checkpoint cannot be written.
        """
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"a checkpoint cannot be written to {self.out_dir}: {error.strerror}; "
                "those that were there are whole. Make room and go on with --resume"
            ) from error
        if self.is_local:
            self.file_backend.remove_now()


class _WithWorkDir:
    """A runner with a work dir of its own."""

    def __init__(self, runner: Runner, work_dir: str) -> None:
        self._runner = runner
        self.work_dir = work_dir

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)


class _RemovesLater(DurableBackend):
    """Local files that are removed when told so, unless they were written anew."""

    def __init__(self) -> None:
        self._due: list[tuple[Path, int]] = []

    def remove(self, filepath: str | Path) -> None:
        """Note a file."""
        self._due.append((Path(filepath), Path(filepath).stat().st_ino))

    def rmtree(self, dir_path: str | Path) -> None:
        """Note a folder."""
        self.remove(dir_path)

    def remove_now(self) -> None:
        """Remove what was noted and is still the same."""
        due, self._due = self._due, []
        for path, inode in due:
            if path.exists() and path.stat().st_ino == inode:
                LocalBackend().rmtree(path) if path.is_dir() else path.unlink()
