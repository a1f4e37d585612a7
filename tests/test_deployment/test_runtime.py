"""What stands around a file: images in, errors of one line out."""

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import Resize

from mmdet_lite.deployment import runtime
from mmdet_lite.deployment.runtime import (
    DeploymentError,
    Detector,
    detect,
    draw,
    find_images,
    load_detector,
    picture_paths,
    read_image,
    resize,
    write_image,
)


@pytest.mark.parametrize("size", [(480, 640), (640, 481), (100, 90), (33, 500)])
@pytest.mark.parametrize("keep_ratio", [True, False])
def test_images_are_resized_as_in_mmdet(size, keep_ratio):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = Resize(scale=(320, 240), keep_ratio=keep_ratio)({"img": image})["img"]
    actual = resize(image, {"scale": [320, 240], "keep_ratio": keep_ratio})
    np.testing.assert_array_equal(actual, expected)


class OneObject(Detector):
    """Finds the right half of every image, and one that NMS removed."""

    def __init__(self):
        self.description = {
            "classes": ["cell"],
            "scale": [320, 240],
            "keep_ratio": True,
            "shape": None,
        }

    def run(self, images):
        self.seen = images
        number, _, height, width = images.shape
        box = [width / 2, 0, width, height]
        return (
            np.array([[box, box]] * number, dtype=np.float32),
            np.array([[0.75, 0]] * number, dtype=np.float32),
            np.array([[0, 0]] * number),
        )


def test_boxes_are_those_of_the_image_before_resizing():
    image = np.zeros((480, 640, 3), dtype=np.uint8)
    objects = detect(OneObject(), image, score_threshold=0)
    assert objects == [
        {"label": 0, "name": "cell", "score": 0.75, "box": [320, 0, 640, 480]}
    ]
    assert detect(OneObject(), image, score_threshold=0.8) == []
    picture = draw(image, objects)
    assert picture[:, 320].any()
    assert not image.any()


def test_images_of_a_size_that_the_file_does_not_take_are_refused():
    detector = OneObject()
    detector.description["shape"] = [96, 128]
    image = np.zeros((480, 640, 3), dtype=np.uint8)
    with pytest.raises(DeploymentError, match=r"one image of 96×128.*1 of 240×320"):
        detect(detector, image, score_threshold=0)
    detector.description |= {"shape": None, "batch": 2}
    with pytest.raises(DeploymentError, match=r"2 images of any size.*3 of 240×320"):
        detector(np.zeros((3, 3, 240, 320), dtype=np.uint8))


def test_black_images_fill_a_batch_and_nothing_of_them_is_found():
    detector = OneObject()
    detector.description["batch"] = 4
    ones = np.ones((3, 3, 240, 320), dtype=np.uint8)
    results = detector(ones)
    assert [len(array) for array in results] == [3, 3, 3]
    assert detector.seen.shape == (4, 3, 240, 320)
    assert detector.seen[:3].all()
    assert not detector.seen[3].any()


def test_what_a_runtime_says_becomes_one_line():
    class Failing(OneObject):
        def run(self, images):
            raise RuntimeError("\nbad reshape\nand much more")

    with pytest.raises(DeploymentError, match=r"Failing failed on 1.*: bad reshape$"):
        Failing()(np.zeros((1, 3, 8, 8), dtype=np.uint8))


def test_a_file_that_serves_not_is_named(tmp_path):
    (tmp_path / "a.onnx").write_text("nothing")
    (tmp_path / "a.jpg").write_text("nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DeploymentError, match=r"ends in \.onnx or \.pt2, but not.*jpg"):
        load_detector(tmp_path / "a.jpg")
    with pytest.raises(DeploymentError, match=r"there is no file .*b\.onnx"):
        load_detector(tmp_path / "b.onnx")
    with pytest.raises(DeploymentError, match=r"torch does not run \.onnx files: onnx"):
        load_detector(tmp_path / "a.onnx", "torch")
    with pytest.raises(DeploymentError, match="not readable as an image"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(DeploymentError, match="empty has no image"):
        find_images([tmp_path / "empty"])
    with pytest.raises(DeploymentError, match=r"no image or folder .*none"):
        find_images([tmp_path / "none"])


def test_a_folder_gives_its_images_in_order(tmp_path):
    for name in ("b.png", "a.jpg"):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), dtype=np.uint8))
    (tmp_path / "notes.txt").write_text("none of them")
    found = find_images([tmp_path, tmp_path / "b.png"])
    assert [path.name for path in found] == ["a.jpg", "b.png", "b.png"]


def test_pictures_replace_neither_images_nor_each_other(tmp_path):
    images = [Path("a/x.png"), Path("b/x.png"), Path("c/x.png"), Path("a/y.png")]
    images += [Path("a/x"), Path("a/y.raw")]
    names = [path.name for path in picture_paths(images, tmp_path)]
    assert names == ["x.png", "x_2.png", "x_3.png", "y.png", "x_4.png", "y_2.png"]
    with pytest.raises(DeploymentError, match="would replace it: take another folder"):
        picture_paths(images, Path("b"))


@pytest.mark.parametrize("suffix", [".pgm", ".PBM"])
def test_pictures_of_grey_images_are_written_in_colour(tmp_path, suffix):
    (picture,) = picture_paths([Path(f"a{suffix}")], tmp_path)
    assert picture == tmp_path / "a.png"
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    write_image(picture, image)
    np.testing.assert_array_equal(read_image(picture), image)


@pytest.fixture
def infer(repository, tmp_path, monkeypatch, capsys):
    """Function that runs infer.py on an image; its status and lines of errors."""
    names = runpy.run_path(str(repository / "tools" / "deployment" / "infer.py"))
    monkeypatch.setattr(runtime, "load_detector", lambda *_: OneObject())
    monkeypatch.setitem(names["main"].__globals__, "load_runtime", lambda: runtime)

    def run(image):
        out = str(tmp_path / "out")
        monkeypatch.setattr(sys, "argv", ["infer.py", "a.onnx", image, "--out", out])
        status = 0
        try:
            names["main"]()
        except SystemExit as end:
            status = end.code
        return status, capsys.readouterr().err.splitlines()

    return run


def test_a_picture_that_cannot_be_written_is_named(infer, tmp_path):
    image = tmp_path / "a.png"
    assert cv2.imwrite(str(image), np.zeros((8, 8, 3), dtype=np.uint8))
    picture = tmp_path / "out" / "a.png"
    assert infer(str(image)) == (0, [])
    assert picture.is_file()
    picture.unlink()
    picture.symlink_to("/dev/full")
    status, (line,) = infer(str(image))
    assert status == 2
    assert line == f"error: {picture} cannot be written: No space left on device"


def test_a_picture_that_opencv_does_not_write_is_named(tmp_path):
    for name in ("a.pgm", "a.none"):
        with pytest.raises(DeploymentError, match=rf"{name} cannot be written: OpenCV"):
            write_image(tmp_path / name, np.zeros((8, 8, 3), dtype=np.uint8))
    assert list(tmp_path.iterdir()) == []
