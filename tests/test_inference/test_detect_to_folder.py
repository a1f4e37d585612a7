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
    assert outcome.unusable == {folder / "cut.png": "cannot be read as a picture"}
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
    assert outcome.unusable == {broken: "cannot be read as a video"}
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


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_picture_that_the_pipeline_does_not_take_is_passed_over(
    detector, folder, tmp_path, batch_size
):
    line = folder / "a_line.png"  # Between the others.
    cv2.imwrite(str(line), np.zeros((1, 1000, 3), np.uint8))
    out = tmp_path / "out"
    sources = find_sources([folder], out)
    outcome = detect_to_folder(detector, sources, out, batch_size, score_thr=0)
    assert list(outcome.unusable) == [line, folder / "cut.png"]
    assert outcome.unusable[line].startswith("the test pipeline fails at 1000×1: ")
    assert "\n" not in outcome.unusable[line]
    rows = json.loads(outcome.results.read_text())["images"]
    names = [str(folder / name) for name in ("a.png", "b.JPG", "more/a.png")]
    assert [row["file_name"] for row in rows] == names


def test_a_video_that_the_pipeline_does_not_take_is_passed_over(detector, tmp_path):
    path = tmp_path / "line.avi"
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), codec, 5, (1000, 1))
    writer.write(np.zeros((1, 1000, 3), np.uint8))
    writer.release()
    outcome = detect_to_folder(detector, find_sources([path], tmp_path), tmp_path)
    assert outcome.frames == 0
    assert "frame 0: the test pipeline fails at 1000×1" in outcome.unusable[path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_was_found_before_the_end_is_written(
    detector, folder, video, tmp_path, monkeypatch, error
):
    add_datasample = detector.visualizer.add_datasample
    calls = []

    def draw_three(*args, **kwargs):
        calls.append(args)
        if len(calls) > 3:
            raise error
        add_datasample(*args, **kwargs)

    monkeypatch.setattr(detector.visualizer, "add_datasample", draw_three)
    sources = find_sources([folder / "a.png", video], tmp_path)
    with pytest.raises(error):
        detect_to_folder(detector, sources, tmp_path, score_thr=0)
    rows = json.loads((tmp_path / "detections.json").read_text())["images"]
    assert [row.get("frame_id") for row in rows] == [None, 0, 1]
    drawn = cv2.VideoCapture(str(tmp_path / "videos" / "film.mp4"))
    assert [drawn.read()[0] for _ in range(3)] == [True, True, False]
