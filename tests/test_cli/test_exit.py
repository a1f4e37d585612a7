"""What a user can mend is one line, wherever it was found."""

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
