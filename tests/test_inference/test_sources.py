"""Files and folders become pictures and videos, each with a place of its own."""

from pathlib import Path

import pytest

from mmdet_lite.errors import ConfigError
from mmdet_lite.inference import find_sources


@pytest.fixture
def tree(tmp_path):
    for name in ("b.JPG", "a.png", ".hidden.png", "sub/a.png", "film.MP4", "x.txt"):
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path / "in"


def paths(sources):
    return [(source.target.as_posix(), source.is_video) for source in sources]


def test_folder_gives_its_pictures_and_videos_by_name(tree, tmp_path):
    assert paths(find_sources([tree], tmp_path / "out")) == [
        ("pictures/a.png", False),
        ("pictures/b.JPG", False),
        ("videos/film.mp4", True),
        ("pictures/sub/a.png", False),
    ]


def test_equal_names_do_not_overwrite_each_other(tree, tmp_path):
    sources = find_sources([tree / "a.png", tree / "sub" / "a.png"], tmp_path / "out")
    assert paths(sources) == [("pictures/a.png", False), ("pictures/a_2.png", False)]


@pytest.mark.parametrize("place", ["in", ".", "in/sub", "in/new"])
def test_results_of_an_earlier_run_are_passed_over(tree, tmp_path, place):
    out = tmp_path / place
    first = paths(find_sources([tree], out))
    assert len(first) == 4
    for target, _ in first:
        (out / target).parent.mkdir(parents=True, exist_ok=True)
        (out / target).touch()
    assert paths(find_sources([tree], out)) == first


def test_a_file_is_not_replaced_by_what_is_drawn_of_it(tree):
    (tree / "sub").rename(tree / "pictures")
    with pytest.raises(ConfigError, match="would replace it: name another --out"):
        find_sources([tree / "pictures" / "a.png"], tree)
    with pytest.raises(ConfigError, match=r"apart from what .* has of an earlier run"):
        find_sources([tree / "pictures"], tree)


def test_a_file_is_not_replaced_by_what_is_drawn_of_another(tree):
    """It would be detected in too, with the other's drawing in its place."""
    (tree / "sub").rename(tree / "pictures")
    files = [tree / "a.png", tree / "pictures" / "a.png"]
    with pytest.raises(ConfigError, match=r"in/a\.png would replace .*pictures/a\.png"):
        find_sources(files, tree)


def test_linked_folders_are_looked_into_but_not_in_circles(tree, tmp_path):
    expected = paths(find_sources([tree], tmp_path / "out"))
    (tree / "sub").rename(tmp_path / "elsewhere")
    for name in ("sub", "twice"):
        (tree / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "around").symlink_to(tree)
    found = paths(find_sources([tree], tmp_path / "out"))
    assert found == [*expected, ("pictures/twice/a.png", False)]


def test_a_link_that_leads_to_itself_is_passed_over(tree, tmp_path):
    expected = paths(find_sources([tree], tmp_path / "out"))
    (tree / "loop").symlink_to("loop")
    assert paths(find_sources([tree], tmp_path / "out")) == expected


@pytest.fixture
def close(monkeypatch):
    """Function that closes a folder; root, who may run the tests, reads all others."""

    def closing(closed):
        iterdir = Path.iterdir

        def iterate(path):
            if path == closed:
                raise PermissionError(13, "Permission denied", str(path))
            return iterdir(path)

        monkeypatch.setattr(Path, "iterdir", iterate)

    return closing


def test_a_folder_inside_that_may_not_be_read_is_passed_over(tree, tmp_path, close):
    expected = paths(find_sources([tree], tmp_path / "out"))
    (tree / "lost+found").mkdir()
    close(tree / "lost+found")
    with pytest.warns(UserWarning, match=r"lost\+found may not be read"):
        assert paths(find_sources([tree], tmp_path / "out")) == expected


def test_a_given_folder_that_may_not_be_read_is_refused(tree, tmp_path, close):
    close(tree)
    with pytest.raises(ConfigError, match="in may not be read"):
        find_sources([tree], tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.png", "there is no file or folder"),
        ("x.txt", "neither a picture nor a video by its name"),
        ("empty", "holds no picture and no video"),
    ],
)
def test_what_cannot_be_detected_in_is_refused(tree, tmp_path, name, message):
    (tree / "empty").mkdir()
    with pytest.raises(ConfigError, match=message):
        find_sources([tree / name], tmp_path / "out")
