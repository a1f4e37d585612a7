"""A measurement says where it was made, and belongs to a commit."""

import subprocess

import pytest
import torch

from mmdet_lite.benchmark.environment import (
    cache_sizes,
    describe_environment,
    machine_slug,
    require_commit,
)
from mmdet_lite.errors import ConfigError

CPU = torch.device("cpu")


def test_the_environment_names_versions_and_threads():
    environment = describe_environment(CPU)
    assert environment["versions"]["torch"] == torch.__version__
    assert environment["threads"] == torch.get_num_threads()
    assert environment["device"] == "cpu"
    assert environment["instruction_set"]
    assert isinstance(environment["bfloat16_instructions"], bool)
    assert all(size > 2**14 for size in environment["caches"].values())


def test_caches_are_those_that_the_system_tells(tmp_path):
    assert cache_sizes(tmp_path / "nowhere") == {}
    for index, (level, size) in enumerate((("1", "32K"), ("2", "1024K"), ("3", "96K"))):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        (folder / "level").write_text(f"{level}\n")
        (folder / "size").write_text(f"{size}\n")
    assert cache_sizes(tmp_path) == {"L2": 2**20, "L3": 96 * 2**10}


@pytest.mark.parametrize(
    ("processor", "instructions", "bfloat16", "slug"),
    [
        ("AMD EPYC", "AVX512", True, "amd-epyc-avx512bf16"),
        ("AMD EPYC 7763 64-Core Processor", "AVX2", False, "amd-epyc-7763-avx2"),
        (
            "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
            "AVX512",
            True,
            "intel-xeon-platinum-8481c-avx512bf16",
        ),
        ("aarch64", "DEFAULT", False, "aarch64-default"),
    ],
)
def test_machines_have_names_of_their_own(processor, instructions, bfloat16, slug):
    environment = {
        "processor": processor,
        "instruction_set": instructions,
        "bfloat16_instructions": bfloat16,
        "device": "cpu",
    }
    assert machine_slug(environment) == slug
    environment["device"] = "NVIDIA H100 80GB HBM3"
    assert machine_slug(environment) == "nvidia-h100-80gb-hbm3"


@pytest.fixture
def checkout(tmp_path):
    """A repository with a commit of code.py and docs/old.json."""

    def git(*arguments):
        who = ("-c", "user.name=n", "-c", "user.email=n@example.com")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True)

    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "old.json").touch()
    (tmp_path / "code.py").touch()
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    return tmp_path


def test_a_measurement_of_committed_code_may_go_to_the_docs(checkout):
    require_commit(checkout / "docs" / "new.json", checkout)
    # Measurements are no code: several can follow one another.
    (checkout / "docs" / "old.json").write_text("{}")
    require_commit(checkout / "docs" / "new.json", checkout)


def test_a_measurement_of_changed_code_may_not(checkout):
    (checkout / "code.py").write_text("changed")
    with pytest.raises(ConfigError, match=r"not committed: code\.py\): commit first"):
        require_commit(checkout / "docs" / "new.json", checkout)
    require_commit(checkout / "new.json", checkout)


def test_a_measurement_outside_of_a_checkout_may_not(tmp_path):
    with pytest.raises(ConfigError, match="is no git checkout"):
        require_commit(tmp_path / "docs" / "new.json", tmp_path)
