"""Every fault of an annotation file is named, and none is a traceback."""

import contextlib
import copy
import json
import random

import pytest
from PIL import Image

from mmdet_lite.cli import check_data, read_config, use_own_data
from mmdet_lite.datasets.coco_file import read_annotation_file
from mmdet_lite.datasets.coco_problems import (
    annotation_problems,
    without_faulty_rows,
)
from mmdet_lite.datasets.problems import Level, in_one_line, report, serious
from mmdet_lite.errors import ConfigError

BIG = 10**400


@pytest.fixture
def content():
    """A small, faultless annotation file."""
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 90, "height": 60},
            {"id": 8, "file_name": "b.jpg", "width": 90, "height": 60},
        ],
        "annotations": [
            {
                "id": number,
                "image_id": 7 + number % 2,
                "category_id": 1 + number % 2,
                "bbox": [1, 2, 30, 4.5],
                "area": 135.0,
                "iscrowd": 0,
            }
            for number in (3, 4, 5)
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def messages(content, classes=("cat", "dog"), **kwargs):
    problems = annotation_problems(content, classes, scored=True, **kwargs)
    return [problem.message for problem in serious(problems)]


def test_a_faultless_file_has_no_problems(content):
    assert annotation_problems(content, ("cat", "dog"), scored=True) == []
    assert annotation_problems(content, ("dog",)) == []


def test_categories_that_are_scored_in_another_order_are_noted(content):
    content["categories"].reverse()
    problems = annotation_problems(content, ("dog", "cat"), scored=True)
    assert [problem.message for problem in problems] == ["they are 2, 1"]
    assert serious(problems) == []
    assert annotation_problems(content, ("dog", "cat")) == []
    content["categories"].insert(0, {"id": 3, "name": "bird"})
    problems = annotation_problems(content, ("dog", "cat"), scored=True)
    assert [problem.message for problem in problems] == ["they are 2, 1"]


def test_the_order_of_categories_that_are_left_out_does_not_matter(content):
    content["categories"].insert(0, {"id": 9, "name": "bird"})
    assert annotation_problems(content, ("cat", "dog"), scored=True) == []
    assert annotation_problems(content, None, scored=True) != []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_that_pycocotools_cannot_read_is_refused(content, tmp_path, encoding):
    file = tmp_path / "train.json"
    file.write_text(json.dumps(content), encoding=encoding)
    with pytest.raises(ConfigError, match=r"train\.json is not readable as JSON"):
        read_annotation_file(file)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "it holds a list"),
        (None, "it holds a NoneType"),
        (3, "it holds a int"),
        ({}, "lacks annotations, categories, images"),
        ({"images": None}, "images must be a list, but is None"),
        ({"images": {}}, "images must be a list, but is {}"),
        ({"categories": 3}, "categories must be a list, but is 3"),
        ({"annotations": "none"}, "annotations must be a list"),
        ({"images": []}, "it lists no images"),
        ({"categories": []}, "it has no categories"),
        ({"annotations": []}, "no annotation has a box to learn from"),
    ],
)
def test_lists_that_are_none_are_named(content, wrong, message):
    if isinstance(wrong, dict) and wrong:
        wrong = {**content, **wrong}
    assert any(message in found for found in messages(wrong))


@pytest.mark.parametrize(
    ("table", "changes", "message"),
    [
        ("images", {"id": ...}, "row 0 of images ('a.jpg') has id None"),
        ("images", {"id": [1]}, "row 0 of images ('a.jpg') has id [1]"),
        ("images", {"id": True}, "has id True"),
        ("images", {"id": BIG}, "row 0 of images ('a.jpg') has id 1000"),
        ("images", {"id": 8}, "image id 8 is that of several: 'a.jpg', 'b.jpg'"),
        ("images", {"id": "x"}, "ids of images are numbers and names"),
        ("images", {"file_name": ...}, "row 0 of images has file_name None"),
        ("images", {"file_name": 5}, "has file_name 5"),
        ("images", {"file_name": ""}, "has file_name ''"),
        ("images", {"width": ...}, "row 0 of images ('a.jpg') has width None"),
        ("images", {"height": "60"}, "has height '60'"),
        ("images", {"height": 0}, "has height 0"),
        ("images", {"width": float("nan")}, "has width nan"),
        ("images", {"width": BIG}, "has width 1000"),
        ("annotations", {"id": ...}, "row 0 of annotations has id None"),
        ("annotations", {"id": "x"}, "annotation 'x' has id 'x'"),
        ("annotations", {"id": [3]}, "annotation [3] has id [3]"),
        ("annotations", {"id": 4}, "annotation id 4 is that of several"),
        ("annotations", {"image_id": 9}, "annotation 3 is of image 9"),
        ("annotations", {"image_id": [7]}, "annotation 3 is of image [7]"),
        ("annotations", {"category_id": 9}, "annotation 3 has category 9"),
        ("annotations", {"category_id": {}}, "annotation 3 has category {}"),
        ("annotations", {"bbox": ...}, "annotation 3 has bbox None"),
        ("annotations", {"bbox": [1, 2, 3]}, "four finite numbers"),
        ("annotations", {"bbox": [1, 2, 3, float("inf")]}, "four finite numbers"),
        ("annotations", {"bbox": [1, 2, 3, BIG]}, "four finite numbers"),
        ("annotations", {"bbox": [1, 2, 3, "4"]}, "four finite numbers"),
        ("annotations", {"bbox": [1, 2, -3, 4]}, "negative size"),
        ("annotations", {"area": ...}, "annotation 3 has no area"),
        ("annotations", {"area": "12"}, "annotation 3 has area '12'"),
        ("annotations", {"iscrowd": ...}, "annotation 3 has no iscrowd"),
        ("annotations", {"iscrowd": []}, "annotation 3 has iscrowd []"),
        ("categories", {"id": ...}, "row 0 of categories has id None"),
        ("categories", {"id": [1]}, "row 0 of categories has id [1]"),
        ("categories", {"id": 2}, "row 1 of categories has the id of another: 2"),
        ("categories", {"name": ...}, "row 0 of categories has name None"),
        ("categories", {"name": "dog"}, "several categories have one name: 'dog'"),
        ("categories", {"name": "Cat"}, "not categories of the file: 'cat'"),
    ],
)
def test_broken_rows_are_named(content, table, changes, message):
    for name, value in changes.items():
        if value is ...:
            del content[table][0][name]
        else:
            content[table][0][name] = value
    assert any(message in found for found in messages(content))


@pytest.mark.parametrize("table", ["images", "annotations", "categories"])
def test_rows_that_are_no_objects_are_named(content, table):
    content[table][0] = [1, 2]
    assert f"row 0 of {table} is [1, 2], not an object" in messages(content)


def test_names_may_be_ids_of_annotations_that_are_not_scored(content):
    for row in content["annotations"]:
        row["id"] = f"x{row['id']}"
    assert annotation_problems(content, ("cat", "dog")) == []
    assert len(messages(content)) == 4  # Each, and nothing is left.
    content["annotations"][1]["id"] = "x3"
    (problem,) = annotation_problems(content, ("cat", "dog"))
    assert problem.message == "annotation id 'x3' is that of several"


def test_all_problems_are_listed_at_once(content):
    content["images"][0]["id"] = 8
    content["annotations"][0]["bbox"] = None
    content["annotations"][1]["id"] = 5
    problems = annotation_problems(content, ("dog", "cat"), scored=True)
    lines = report(problems)
    titles = [line for line in lines if line.startswith("problem: ")]
    assert titles == [
        "problem: classes that do not fit the categories (1)",
        "problem: image ids that are not unique (2)",
        "problem: broken annotations (2)",  # The second's image has lost its id.
    ]
    assert sum("->" in line for line in lines) == len(titles)
    assert "more, listed by tools/dataset_converters" in in_one_line("f", problems)


def test_classes_in_another_order_are_refused(content):
    """mmdet would number them by the file."""
    (found,) = messages(content, classes=("dog", "cat"))
    assert found.startswith("the classes are in another order ('dog', 'cat')")
    (found,) = messages(content, classes=("cat", "cat"))
    assert "twice: 'cat'" in found


@pytest.mark.parametrize(
    "change",
    [
        {"iscrowd": 1},
        {"bbox": [1, 2, 0, 9]},
        {"bbox": [90, 2, 5, 5]},
        {"bbox": [-9, 2, 5, 5]},
        {"area": 0},
    ],
)
def test_a_file_without_a_usable_box_is_refused(content, change):
    for row in content["annotations"]:
        row.update(change)
    assert any("no annotation has a box" in found for found in messages(content))


def test_what_training_leaves_out_is_noted(content):
    content["images"][0]["width"] = 20
    content["annotations"][0]["bbox"] = [1, 2, 0.5, 9]
    content["annotations"][2]["id"] = 0
    content["images"].append({**content["images"][0], "id": 9, "width": 99})
    problems = annotation_problems(
        content,
        ("cat", "dog"),
        {"filter_empty_gt": True, "min_size": 32},
        scored=True,
    )
    assert serious(problems) == []
    assert {problem.message for problem in problems} == {
        "'a.jpg' is 20×60 pixels",
        "annotation 3 has a box of less than a pixel: [1, 2, 0.5, 9]",
        "annotation 0",
        "1 of 3 images have no box",
    }


def test_images_without_a_box_of_the_classes_are_noted(content):
    """As mmdet leaves them out: boxes of other classes do not keep an image."""
    keep = {"filter_empty_gt": True}
    assert annotation_problems(content, ("cat", "dog"), keep) == []
    (problem,) = annotation_problems(content, ("dog",), keep)
    assert problem.message == "1 of 2 images have no box"


def test_faulty_rows_can_be_left_out(content):
    content["annotations"][0]["bbox"] = None
    content["images"].append({"id": 8, "file_name": "c.jpg", "width": 9, "height": 9})
    content["annotations"].append({**content["annotations"][1], "id": 6})
    problems = annotation_problems(content, ("cat", "dog"), scored=True)
    rest = without_faulty_rows(content, problems)
    assert [row["id"] for row in rest["images"]] == [7]
    assert [row["id"] for row in rest["annotations"]] == [4, 6]
    # The class of what is gone has no box any more, which is no fault.
    assert annotation_problems(rest, ("cat", "dog"), scored=True) == []


def _values(rng):
    """A value of JSON, hostile more often than not."""
    return rng.choice(
        [
            None,
            True,
            0,
            -1,
            BIG,
            -BIG,
            2**63,
            1.5,
            float("nan"),
            float("inf"),
            1e308,
            "",
            "x",
            "\ud800\n",
            "\0",
            [],
            [[]],
            {},
            {"id": 1},
            [1, 2, 3, 4],
        ]
    )


def _damage(rng, content):
    """Put hostile values in some places of a file, at any depth."""
    content = copy.deepcopy(content)
    for _ in range(rng.randint(1, 4)):
        place = content
        while True:
            keys = list(place if isinstance(place, dict) else range(len(place)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(place[key], dict | list) and rng.random() < 0.9:
                place = place[key]
                continue
            if isinstance(place, dict) and rng.random() < 0.2:
                del place[key]
            else:
                place[key] = _values(rng)
            break
    return content


def test_no_content_ends_in_a_traceback(content):
    rng = random.Random(0)
    for _ in range(3000):
        damaged = _damage(rng, content)
        scored = rng.random() < 0.5
        problems = annotation_problems(
            damaged, rng.choice([None, ("cat", "dog")]), {"min_size": 8}, scored=scored
        )
        assert all("\n" not in line for line in report(problems))
        if not any(problem.kind.level is Level.STOP for problem in problems):
            rest = without_faulty_rows(damaged, problems)
            left = annotation_problems(rest, None, scored=scored)
            assert all(problem.kind.level is not Level.ROW for problem in left)


def test_own_data_of_any_content_are_used_or_refused(content, tmp_path, repository):
    """What finds files and classes meets the content before the check does."""
    name = "lite-dino_h3l1-2p1x3_effnet-lite0_1xb2-8e_bccd.py"
    cfg = read_config(str(repository / "configs" / "lite_detr" / name))
    for row in content["images"]:
        Image.new("RGB", (90, 60)).save(tmp_path / row["file_name"])
    (tmp_path / "val.json").write_text(json.dumps(content))
    rng = random.Random(1)
    for text in ["", "[" * 100_000, "1" * 5000, "\xff", "nul"]:
        (tmp_path / "train.json").write_text(text)
        with pytest.raises(ConfigError, match="not readable as JSON"):
            use_own_data(cfg, tmp_path)
    for _ in range(100):
        text = json.dumps(_damage(rng, content))
        (tmp_path / "train.json").write_text(text)
        with contextlib.suppress(ConfigError):
            own = copy.deepcopy(cfg)
            use_own_data(own, tmp_path)
            check_data(own)
