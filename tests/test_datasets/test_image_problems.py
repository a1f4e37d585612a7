"""Images are read as their annotator saw them, or refused by name."""

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from mmdet_lite.datasets.image_problems import (
    ImageReader,
    all_image_problems,
    quick_image_problems,
)

WIDTH, HEIGHT = 60, 40
BOX = (5, 5, 25, 15)  # x1, y1, x2, y2 of a red patch on black
# From an upright picture to the one that a camera stores, by EXIF orientation.
STORE = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture
def picture():
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = (255, 0, 0)
    return Image.fromarray(pixels)


def rows(name, width=WIDTH, height=HEIGHT):
    return [{"id": 1, "file_name": name, "width": width, "height": height}]


def found(check, folder, name, *size, **reader):
    arguments = [rows(name, *size), ImageReader(str(folder), **reader)]
    if check is all_image_problems:
        arguments.append(1)
    return [problem.message for problem in check(*arguments)]


def load(path):
    return LoadImageFromFile()({"img_path": str(path)})["img"]


@pytest.fixture(params=[quick_image_problems, all_image_problems])
def check(request):
    return request.param


@pytest.mark.parametrize("orientation", STORE)
@pytest.mark.parametrize(
    "suffix",
    [
        "jpg",
        "png",
        pytest.param(
            "webp",
            marks=pytest.mark.skipif(
                int(cv2.__version__.split(".")[0]) < 5,
                reason="OpenCV 4 reads WebP as it is stored",
            ),
        ),
        "tiff",
    ],
)
def test_a_box_lands_where_the_annotator_saw_it(picture, tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = picture
    if STORE[orientation] is not None:
        stored = picture.transpose(STORE[orientation])
    path = tmp_path / f"photo.{suffix}"
    stored.save(path, exif=exif, quality=95)
    red = load(path)[..., 2] > 128
    assert red.shape == (HEIGHT, WIDTH)
    rows_of_it, columns = np.where(red)
    corners = (columns.min(), rows_of_it.min(), columns.max() + 1, rows_of_it.max() + 1)
    assert np.abs(np.subtract(corners, BOX)).max() <= 1
    assert found(quick_image_problems, tmp_path, path.name) == []
    assert found(all_image_problems, tmp_path, path.name) == []


def test_a_photograph_annotated_as_it_is_stored_is_named(check, picture, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.transpose(STORE[6]).save(tmp_path / "photo.jpg", exif=exif)
    (message,) = found(check, tmp_path, "photo.jpg", HEIGHT, WIDTH)
    assert "photo.jpg' is 60×40, listed as 40×60: it is turned by its EXIF" in message
    # A pipeline that reads what is stored fits such boxes, and no others.
    stored = {"color_type": "color_ignore_orientation"}
    assert found(check, tmp_path, "photo.jpg", HEIGHT, WIDTH, **stored) == []
    (message,) = found(check, tmp_path, "photo.jpg", **stored)
    assert "which this pipeline ignores" in message


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("CMYK", "jpg"),
        ("L", "jpg"),
        ("L", "png"),
        ("LA", "png"),
        ("RGBA", "png"),
        ("P", "png"),
        ("1", "png"),
    ],
)
def test_other_kinds_of_pictures_are_read_right(picture, tmp_path, mode, suffix):
    path = tmp_path / f"picture.{suffix}"
    picture.convert(mode).save(path)
    pixels = load(path)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert pixels[30, 50].max() < 8
    inside = pixels[10, 15].astype(int)
    if mode in ("CMYK", "RGBA", "P"):
        assert inside[2] > 240
        assert inside[:2].max() < 16
    else:
        assert len(set(inside)) == 1
    assert found(all_image_problems, tmp_path, path.name) == []


def test_sixteen_bits_are_read_where_all_are_used(tmp_path):
    ramp = np.linspace(0, 65535, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
    cv2.imwrite(str(tmp_path / "full.png"), ramp.astype(np.uint16))
    pixels = load(tmp_path / "full.png")
    assert np.abs(pixels[..., 0].astype(float) - ramp / 257).max() <= 1
    assert found(all_image_problems, tmp_path, "full.png") == []
    # As a camera of twelve bits writes it, the picture would be nearly black.
    cv2.imwrite(str(tmp_path / "twelve.png"), (ramp / 16).astype(np.uint16))
    (message,) = found(all_image_problems, tmp_path, "twelve.png")
    assert "twelve.png' has no pixel above 15 of 255" in message


@pytest.mark.parametrize("size", [(1, 500), (500, 1), (20_000, 3), (1, 1)])
def test_thin_and_long_pictures_are_read_right(check, tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "thin.png")
    assert load(tmp_path / "thin.png").shape == (size[1], size[0], 3)
    assert found(check, tmp_path, "thin.png", *size) == []


def test_a_picture_above_the_limit_of_opencv_is_named(tmp_path):
    # The head alone of a picture that nobody wants in a test.
    Image.new("1", (8, 8)).save(tmp_path / "huge.bmp")
    head = bytearray((tmp_path / "huge.bmp").read_bytes())
    head[18:26] = (40_000).to_bytes(4, "little") * 2
    (tmp_path / "huge.bmp").write_bytes(head)
    (message,) = found(quick_image_problems, tmp_path, "huge.bmp", 40_000, 40_000)
    assert "huge.bmp' is 40000×40000: OpenCV reads up to 2^30 pixels" in message


def test_files_that_are_no_pictures_are_named(check, tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "folder.jpg").mkdir()
    for name, message in (
        ("none.jpg", "none.jpg' does not exist"),
        ("empty.jpg", "empty.jpg' is empty"),
        ("text.jpg", "text.jpg' cannot be read: cannot identify"),
        ("folder.jpg", "folder.jpg' does not exist"),
        ("\ud800.jpg", "does not exist"),
        ("\0.jpg", "does not exist"),
    ):
        (line,) = found(check, tmp_path, name)
        assert message in line


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_file_that_is_cut_off_is_named(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (message,) = found(all_image_problems, tmp_path, path.name)
    assert f"cut.{suffix}' cannot be read" in message


def test_numbers_that_are_none_are_named(tmp_path):
    cv2.imwrite(str(tmp_path / "nan.tiff"), np.full((40, 60, 3), np.nan, np.float32))
    (message,) = found(all_image_problems, tmp_path, "nan.tiff")
    assert "nan.tiff' cannot be read" in message


def test_another_size_than_is_listed_is_named(check, picture, tmp_path):
    picture.save(tmp_path / "a.png")
    (message,) = found(check, tmp_path, "a.png", 120, 80)
    assert "a.png' is 60×40, listed as 120×80" in message


def test_a_large_data_set_is_sampled_but_every_file_asked_for(tmp_path, picture):
    picture.save(tmp_path / "a.png")
    many = rows("a.png", 120, 80) * 5000 + rows("none.png")
    found_in = quick_image_problems(many, ImageReader(str(tmp_path)))
    assert 1500 < len(found_in) <= 2001
    assert found_in[-1].message.endswith("none.png' does not exist")
    assert found_in[-1].image == 5000
