"""What a user can mend is one line, wherever it was found."""

import json

import pytest
from torch.utils.data import DataLoader, Dataset

from mmdet_lite.cli import exit_on_config_error
from mmdet_lite.errors import ConfigError


class Faulty(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise ConfigError("the image cannot be read: a.jpg")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_of_a_worker_is_one_line_too(num_workers, capsys):
    loader = DataLoader(Faulty(), num_workers=num_workers)
    with pytest.raises(SystemExit) as end, exit_on_config_error():
        list(loader)
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: the image cannot be read: a.jpg\n"


def test_one_of_several_processes_leaves_its_error_to_the_launcher(
    monkeypatch, tmp_path, capsys
):
    file = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
    for error, status in ((ConfigError("a fault"), 2), (KeyError("a bug"), 1)):
        with pytest.raises(SystemExit) as ended, exit_on_config_error():
            raise error
        assert ended.value.code == status
        told = json.loads(file.read_text())["message"]["message"]
        assert told == f"{type(error).__name__}: {error}"
    assert capsys.readouterr().err == ""
