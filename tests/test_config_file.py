"""A mistake in a config is one line."""

import pytest

from mmdet_lite import cli
from mmdet_lite.config_file import read_config
from mmdet_lite.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = dict(", r"SyntaxError: .*never closed"),
        ("model = dict(type=DINO)", "NameError: name 'DINO' is not defined"),
        ("_base_ = ['nowhere.py']", "nowhere.py"),
        ("_base_ = ['config.py']\nx = {{_base_.nothing}}", "cannot be read"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("custom_imports = dict(imports=['nowhere_at_all'])", "nowhere_at_all"),
    ],
)
def test_a_config_that_cannot_be_read_is_one_line(tmp_path, text, message):
    (tmp_path / "own.py").write_text(text)
    (tmp_path / "config.py").write_text("y = 1")
    with pytest.raises(ConfigError, match=message) as error:
        read_config(str(tmp_path / "own.py"))
    assert str(tmp_path / "own.py") in str(error.value)
    assert "\n" not in str(error.value)


def test_quotes_in_an_environment_variable_are_shown(repository, monkeypatch):
    monkeypatch.setenv("BCCD_ROOT", 'my "best" data')
    name = "configs/lite_detr/lite-dino_h3l1-2p1x3_effnet-lite0_1xb2-8e_bccd.py"
    with pytest.raises(ConfigError, match=r'bccd_root = "my "best" data/"'):
        read_config(str(repository / name))


def test_a_setting_inside_of_a_number_is_refused(tmp_path):
    (tmp_path / "own.py").write_text("model = dict(num_queries=3)")
    with pytest.raises(ConfigError, match=r"--cfg-options: "):
        read_config(str(tmp_path / "own.py"), {"model.num_queries.x.y": 3})


def test_it_is_read_by_the_name_that_the_documentation_has():
    assert cli.read_config is read_config
