"""Pictures and videos are drawn and written down as the model predicts them."""

import json

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mmdet_lite.errors import ConfigError
from mmdet_lite.inference import detect_to_folder, find_sources


@pytest.mark.parametrize("batch_size", [1, 3])
def test_pictures_of_mixed_sizes_are_found_as_mmdet_finds_them(
    detector, folder, tmp_path, batch_size
):
    out = tmp_path / "out"
    sources = find_sources([folder], out)
    outcome = detect_to_folder(detector, sources, out, batch_size, score_thr=0)
    assert outcome.unreadable == [folder / "cut.png"]
    files = [str(folder / name) for name in ("a.png", "b.JPG", "more/a.png")]
    coco = COCO(outcome.results)
    assert [row["file_name"] for row in coco.loadImgs(coco.getImgIds())] == files
    shapes = [(row["height"], row["width"]) for row in coco.dataset["images"]]
    assert shapes == [(128, 128), (80, 128), (128, 100)]
    expected = detector(files, batch_size=batch_size)["predictions"]
    for image_id, prediction in enumerate(expected, 1):
        rows = coco.imgToAnns[image_id]
        corners = np.array([row["bbox"] for row in rows])
        corners[:, 2:] += corners[:, :2]
        np.testing.assert_allclose(corners, prediction["bboxes"], atol=0.02)
        labels = [row["category_id"] - 1 for row in rows]
        assert labels == prediction["labels"]
        for row, score in zip(rows, prediction["scores"], strict=True):
            assert row["score"] == pytest.approx(score, abs=1e-4)
    assert outcome.detections == len(coco.dataset["annotations"])


def test_drawn_pictures_keep_size_and_colours(detector, folder, tmp_path):
    picture = folder / "a.png"
    scan = cv2.imread(str(picture))
    scan[..., 0] = 200  # Blue, which red and blue swapped would show.
    cv2.imwrite(str(picture), scan)
    sources = find_sources([picture], tmp_path)
    detect_to_folder(detector, sources, tmp_path, score_thr=0)
    drawn = cv2.imread(str(tmp_path / "pictures" / "a.png"))
    assert drawn.shape == scan.shape
    same = (drawn == scan).all(-1).mean()
    assert 0.1 < same < 1  # Boxes hide the rest.
    detect_to_folder(detector, sources, tmp_path, score_thr=1)
    drawn = cv2.imread(str(tmp_path / "pictures" / "a.png"))
    np.testing.assert_array_equal(drawn, scan)


def test_score_and_classes_choose_what_is_kept(detector, folder, tmp_path):
    sources = find_sources([folder / "a.png"], tmp_path)

    def rows(**choice):
        outcome = detect_to_folder(detector, sources, tmp_path, **choice)
        return json.loads(outcome.results.read_text())["annotations"]

    every = rows(score_thr=0)
    middle = sorted(row["score"] for row in every)[len(every) // 2]
    better = rows(score_thr=middle)
    assert 0 < len(better) < len(every)
    label = every[0]["category_id"]
    chosen = rows(score_thr=0, classes=[str(label - 1)])
    assert len(chosen) == sum(row["category_id"] == label for row in every)
    assert {row["category_id"] for row in chosen} == {label}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"classes": ["0", "cat"]}, "--classes cat: the model knows 0, 1, 2"),
        ({"batch_size": 0}, "--batch-size must be at least 1"),
        ({"score_thr": 40}, "--score-thr must be from 0 to 1"),
    ],
)
def test_choices_that_make_no_sense_are_refused(detector, tmp_path, choice, message):
    with pytest.raises(ConfigError, match=message):
        detect_to_folder(detector, [], tmp_path, **choice)


def test_a_video_keeps_size_and_frame_rate(detector, video, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 100)
    sources = find_sources([video, broken], tmp_path)
    outcome = detect_to_folder(detector, sources, tmp_path, 2, score_thr=0)
    assert outcome.frames == 3
    assert outcome.unreadable == [broken]
    content = json.loads(outcome.results.read_text())
    assert content["videos"] == [
        {
            "id": 1,
            "file_name": str(video),
            "height": 96,
            "width": 128,
            "frame_rate": 12.5,
            "drawn": "videos/film.mp4",
        }
    ]
    frames = [(row["video_id"], row["frame_id"]) for row in content["images"]]
    assert frames == [(1, 0), (1, 1), (1, 2)]
    drawn = cv2.VideoCapture(str(tmp_path / "videos" / "film.mp4"))
    assert drawn.get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
    source = cv2.VideoCapture(str(video))
    for _ in range(3):
        (_, before), (ok, after) = source.read(), drawn.read()
        assert ok
        assert after.shape == (96, 128, 3)
        # Compression changes shades a little, boxes change them a lot.
        assert np.abs(after.astype(int) - before).max() > 60
    assert not drawn.read()[0]
