"""A launcher that did not start the process is refused, and one checks for all."""

import pytest
from mmengine.config import Config

from mmdet_lite.cli import check_data
from mmdet_lite.errors import ConfigError
from mmdet_lite.runtime.launcher import is_first_process, require_launcher


@pytest.mark.parametrize(
    ("launcher", "variable"),
    [("pytorch", "RANK"), ("slurm", "SLURM_PROCID"), ("mpi", "OMPI_COMM_WORLD_RANK")],
)
def test_a_launcher_without_its_environment_is_refused(monkeypatch, launcher, variable):
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigError, match=f"--launcher {launcher} needs {variable}"):
        require_launcher(launcher)


def test_only_the_first_process_checks(monkeypatch):
    cfg = Config(
        {
            "launcher": "pytorch",
            "train_dataloader": {"dataset": {"type": "CocoDataset", "ann_file": "no"}},
        }
    )
    monkeypatch.setenv("RANK", "0")
    assert is_first_process("pytorch")
    assert is_first_process("none")
    with pytest.raises(ConfigError, match="does not exist"):
        check_data(cfg)
    monkeypatch.setenv("RANK", "1")
    check_data(cfg)
