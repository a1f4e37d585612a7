"""A checkpoint is read whole or refused by name, in one line."""

import random

import pytest
import torch

from mmdet_lite.checkpoint.local_file import UnreadableCheckpointError, load_from_local


def checkpoint_of(iteration):
    torch.manual_seed(iteration)
    return {
        "meta": {"epoch": 0, "iter": iteration, "seed": 3},
        "state_dict": {"a": torch.randn(300), "b": torch.ones(2, 2)},
        "message_hub": {},
    }


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "iter_1.pth"
    torch.save(checkpoint_of(1), path)
    return path


class Harmful:
    def __reduce__(self):
        return print, ("code ran",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"some text\n", "cannot be read as a checkpoint"),
        ([torch.ones(1)], "holds a list"),
        ({"state_dict": Harmful()}, "asks for builtins.print"),
    ],
)
def test_what_is_no_checkpoint_is_refused_in_a_line(tmp_path, capsys, content, message):
    path = tmp_path / "file.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UnreadableCheckpointError, match=message) as caught:
        load_from_local(str(path))
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert "weights_only" not in str(caught.value)
    assert not capsys.readouterr().out


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path):
    with pytest.raises(UnreadableCheckpointError, match="is a folder"):
        load_from_local(str(tmp_path))
    with pytest.raises(UnreadableCheckpointError, match="does not exist"):
        load_from_local(str(tmp_path / "none.pth"))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(file, share):
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UnreadableCheckpointError, match=r"iter_1.pth"):
        load_from_local(str(file))


def test_a_flipped_bit_of_a_weight_is_found(file):
    content = bytearray(file.read_bytes())
    weight = checkpoint_of(1)["state_dict"]["a"].numpy().tobytes()
    content[content.index(weight) + 500] ^= 1
    file.write_bytes(content)
    torch.load(file)  # PyTorch does not notice.
    with pytest.raises(UnreadableCheckpointError, match="does not have the checksum"):
        load_from_local(str(file))


def test_a_flipped_byte_anywhere_is_found_or_changes_nothing(file):
    whole, places = file.read_bytes(), random.Random(0)
    expected = checkpoint_of(1)["state_dict"]
    found = 0
    for _ in range(200):
        content = bytearray(whole)
        content[places.randrange(len(whole))] ^= places.randrange(1, 256)
        file.write_bytes(content)
        try:
            loaded = load_from_local(str(file))["state_dict"]
        except UnreadableCheckpointError:
            found += 1
            continue
        assert all(torch.equal(loaded[name], expected[name]) for name in expected)
    assert found > 50  # The rest hit padding.


@pytest.mark.parametrize("kind", ["no checksums", "before PyTorch 1.6"])
def test_files_without_checksums_load(file, kind):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(
            checkpoint_of(1),
            file,
            _use_new_zipfile_serialization=kind == "no checksums",
        )
    finally:
        torch.serialization.set_crc32_options(before)
    assert load_from_local(str(file))["meta"]["iter"] == 1
