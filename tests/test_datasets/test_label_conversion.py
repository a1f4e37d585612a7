"""Pascal VOC and YOLO become COCO box for box, and what is wrong is said."""

import json
from collections import Counter

import cv2
import numpy as np
import pytest
from PIL import Image

from mmdet_lite.datasets.conversion import find_labels, read_labels, write_coco
from mmdet_lite.datasets.problems import serious
from mmdet_lite.errors import ConfigError

pytest.importorskip("supervision")

ABSENT = "classes without a box to learn from"
POLYGON = (
    "<polygon><x1>33</x1><y1>33</y1><x2>96</x2><y2>33</y2><x3>33</x3><y3>96</y3>"
    "<x4>96</x4><y4>96</y4></polygon>"
)


def boxes_of(file):
    """(name of the class, corner, width, height) of each box, by picture."""
    content = json.loads(file.read_text())
    names = {row["id"]: row["name"] for row in content["categories"]}
    files = {row["id"]: row["file_name"] for row in content["images"]}
    boxes = {name: [] for name in files.values()}
    for row in content["annotations"]:
        box = (names[row["category_id"]], *row["bbox"])
        boxes[files[row["image_id"]]].append(box)
    return boxes


def xml(*objects, size=(128, 128)):
    """Text of an XML file; an object is a name, four corners and more elements."""
    rows = "".join(
        f"<object><name>{name}</name>{''.join(more)}<bndbox><xmin>{x1}</xmin>"
        f"<ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, x1, y1, x2, y2, *more in objects
    )
    sides = f"<width>{size[0]}</width><height>{size[1]}</height>"
    return f"<annotation><size>{sides}</size>{rows}</annotation>"


@pytest.fixture
def digits(digits_root):
    """Pixels of the digits' pictures, and their boxes, by set and name."""
    return {
        split: {
            name: (cv2.imread(str(digits_root / "images" / name)), boxes)
            for name, boxes in boxes_of(digits_root / f"{split}.json").items()
        }
        for split in ("train", "val")
    }


def put(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        file.write_text(content)
    else:
        assert cv2.imwrite(str(file), content)


def put_yolo(root, digits, image_folder, line=None):
    def of_box(box):
        _, x, y, width, height = box
        centre = f"{(x + width / 2) / 128} {(y + height / 2) / 128}"
        return f"{box[0]} {centre} {width / 128} {height / 128}"

    for split, pictures in digits.items():
        folder = root / image_folder.format(split=split)
        labels = root / image_folder.format(split=split).replace("images", "labels")
        for name, (pixels, boxes) in pictures.items():
            put(folder / name, pixels)
            lines = "\n".join(map(line or of_box, boxes))
            put(labels / name.replace(".png", ".txt"), lines)


def put_voc(root, digits, image_folder, label_folder):
    for split, pictures in digits.items():
        for name, (pixels, boxes) in pictures.items():
            put(root / image_folder.format(split=split) / name, pixels)
            objects = [(c, x + 1, y + 1, x + w, y + h) for c, x, y, w, h in boxes]
            file = root / label_folder.format(split=split) / f"{name[:-4]}.xml"
            put(file, xml(*objects))


def convert(source, out, val_fraction=None):
    """Write the data; returns what is wrong with them, by kind."""
    data = read_labels(find_labels(source), val_fraction)
    write_coco(data, out)
    return Counter(problem.kind.title for problem in data.problems)


def one_picture(root, label, size=(128, 128)):
    """A YOLO or VOC data set of one picture to train on and one to test on."""
    width, height = size
    for split in ("train", "val"):
        put(root / split / "images" / "a.png", np.full((height, width, 3), 99, "uint8"))
    if label.startswith("<"):
        for split in ("train", "val"):
            put(root / split / "images" / "a.xml", label)
    else:
        put(root / "data.yaml", "train: train/images\nval: val/images\nnames: [a, b]")
        for split in ("train", "val"):
            put(root / split / "labels" / "a.txt", label)
    return root


def titles(root):
    data = read_labels(find_labels(root))
    return {problem.kind.title for problem in data.problems}


YAML = {
    # Ultralytics', with a folder and a name of another machine
    "images/{split}2017": "path: /there/mine\ntrain: images/train2017\n"
    "val: images/val2017\nnames:\n" + "".join(f"  {i}: '{i}'\n" for i in range(10)),
    # Roboflow's, which are not where they say
    "{split}/images": "train: ../train/images\nval: ../val/images\nnc: 10\n"
    "names: ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']",
    # lists of pictures
    "images/some_{split}": "train: train.txt\nval: [val.txt]\n"
    "names: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]",
    # without sets, as far as it says
    "images/{split}": "names: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]",
}


@pytest.mark.parametrize("folder", YAML)
def test_yolo_becomes_coco_box_for_box(digits, digits_root, tmp_path, folder):
    root = tmp_path / "yolo"
    put_yolo(root, digits, folder)
    (root / "data.yaml").write_text(YAML[folder])
    for split, pictures in digits.items():
        lines = [f"./{folder.format(split=split)}/{name}" for name in pictures]
        (root / f"{split}.txt").write_text("\n".join(lines))
    assert convert(root, tmp_path / "coco").keys() <= {ABSENT}
    for split in ("train", "val"):
        assert_equal(tmp_path / "coco", digits_root, split, tolerance=1e-3)


@pytest.mark.parametrize(
    ("images", "labels", "lists"),
    [
        ("JPEGImages", "Annotations", True),
        ("VOC2012/JPEGImages", "VOC2012/Annotations", True),
        ("{split}", "{split}", False),  # Roboflow's
        ("images/{split}", "annotations", False),
        ("images", "xml/{split}", False),
    ],
)
def test_voc_becomes_coco_box_for_box(
    digits, digits_root, tmp_path, images, labels, lists
):
    root = tmp_path / "voc"
    put_voc(root, digits, images, labels)
    for split, pictures in digits.items():
        if lists:
            file = (root / images).parent / "ImageSets" / "Main" / f"{split}.txt"
            put(file, "\n".join(name[:-4] for name in pictures))
    assert convert(root, tmp_path / "coco").keys() <= {ABSENT}
    for split in ("train", "val"):
        assert_equal(tmp_path / "coco", digits_root, split, tolerance=0)


def assert_equal(found_root, expected_root, split, tolerance):
    found = boxes_of(found_root / f"{split}.json")
    expected = boxes_of(expected_root / f"{split}.json")
    assert found.keys() == expected.keys()
    for name, boxes in expected.items():
        assert [box[0] for box in found[name]] == [box[0] for box in boxes]
        np.testing.assert_allclose(
            [box[1:] for box in found[name]],
            [box[1:] for box in boxes],
            atol=tolerance,
            rtol=0,
        )
        picture = found_root / "images" / split / name
        assert picture.read_bytes() == (expected_root / "images" / name).read_bytes()


def test_original_annotations_of_bccd_agree_with_its_coco_file(tmp_path):
    # BloodImage_00001 of github.com/Shenggan/BCCD_Dataset (MIT licence), three of its
    # boxes, and the same in the COCO file that is made of it.
    objects = [("WBC", 68, 315, 286, 480), ("RBC", 346, 361, 446, 454)]
    objects.append(("RBC", 1, 38, 98, 164))
    root = one_picture(tmp_path, xml(*objects, size=(640, 480)), (640, 480))
    convert(root, tmp_path / "coco")
    assert boxes_of(tmp_path / "coco" / "val.json")["a.png"] == [
        ("WBC", 67, 314, 219, 166),
        ("RBC", 345, 360, 101, 94),
        ("RBC", 0, 37, 98, 127),
    ]


def test_classes_have_one_order_in_all_files(digits, tmp_path):
    root = tmp_path / "voc"
    put_voc(root, digits, "{split}", "{split}")
    # A class that comes first by alphabet, and is named in the validation set only.
    name = next(iter(digits["val"]))[:-4]
    put(root / "val" / f"{name}.xml", xml(("!", 11, 11, 20, 20)))
    found = convert(root, tmp_path / "coco")
    assert found[ABSENT] == 1
    categories = [
        json.loads((tmp_path / "coco" / f"{split}.json").read_text())["categories"]
        for split in ("train", "val")
    ]
    assert categories[0] == categories[1]
    names = [row["name"] for row in categories[0]]
    assert names[0] == "!"
    assert names == sorted(names)
    val = boxes_of(tmp_path / "coco" / "val.json")
    assert val[f"{name}.png"] == [("!", 10, 10, 10, 10)]
    train = boxes_of(tmp_path / "coco" / "train.json")
    for name, (_, boxes) in digits["train"].items():
        assert train[name] == [tuple(box) for box in boxes]


def test_ids_are_those_of_one_picture_and_nobody_grants_a_licence(digits, tmp_path):
    put_yolo(tmp_path / "yolo", digits, "images/{split}")
    (tmp_path / "yolo" / "classes.txt").write_text("\n".join("0123456789"))
    convert(tmp_path / "yolo", tmp_path / "coco")
    contents = [
        json.loads((tmp_path / "coco" / f"{split}.json").read_text())
        for split in ("train", "val")
    ]
    for key in ("images", "annotations"):
        ids = [row["id"] for content in contents for row in content[key]]
        assert ids == [*range(1, len(ids) + 1)]
    assert [row["id"] for row in contents[0]["categories"]] == [*range(1, 11)]
    files = [row["file_name"] for row in contents[0]["images"]]
    assert files == sorted(files)
    assert "licen" not in json.dumps(contents)


@pytest.mark.parametrize(
    "label",
    [
        # A ring: supervision makes a crowd of a mask with a hole.
        "0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75 0.25 0.25 "
        "0.4 0.4 0.4 0.6 0.6 0.6 0.6 0.4 0.4 0.4",
        "0 0.25 0.25 0.75 0.5 0.5 0.75 0.25 0.75 0.25 0.25",
        "0 .5 .5 .5 .5",
        xml(("a", 33, 33, 96, 96, POLYGON)),
    ],
)
def test_a_polygon_gives_the_box_around_it_and_no_crowd(tmp_path, label):
    convert(one_picture(tmp_path, label), tmp_path / "coco")
    (row,) = json.loads((tmp_path / "coco" / "train.json").read_text())["annotations"]
    np.testing.assert_allclose(row["bbox"], [32, 32, 64, 64], atol=1e-4)
    assert (row["iscrowd"], row["area"]) == (0, 64 * 64)


def test_keypoints_are_no_part_of_the_box(tmp_path):
    root = one_picture(tmp_path, "1 0.5 0.5 0.5 0.5 0.1 0.1 2 0.9 0.9 2")
    with (root / "data.yaml").open("a") as file:
        file.write("\nkpt_shape: [2, 3]")
    convert(root, tmp_path / "coco")
    boxes = boxes_of(tmp_path / "coco" / "train.json")
    assert boxes["a.png"] == [("b", 32, 32, 64, 64)]


def test_pixels_may_be_counted_from_zero(tmp_path):
    label = xml(("a", 0, 10, 20, 30), ("a", 40, 50, 60, 70))
    assert convert(one_picture(tmp_path, label), tmp_path / "coco") == {
        "pixels that are counted from 0": 1
    }
    boxes = boxes_of(tmp_path / "coco" / "train.json")["a.png"]
    assert boxes == [("a", 0, 10, 20, 20), ("a", 40, 50, 20, 20)]


def test_difficult_objects_are_left_out_of_training_and_of_ap(tmp_path):
    objects = [("a", 1, 1, 9, 9, "<difficult>1</difficult>"), ("a", 5, 5, 50, 50)]
    found = convert(one_picture(tmp_path, xml(*objects)), tmp_path / "coco")
    assert found["objects that are marked as difficult"] == 2
    rows = json.loads((tmp_path / "coco" / "val.json").read_text())["annotations"]
    assert [row["iscrowd"] for row in rows] == [1, 0]


def test_a_photograph_that_is_turned_has_its_boxes_upright(tmp_path):
    root = one_picture(tmp_path / "yolo", "0 0.25 0.5 0.1 0.2")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    for split in ("train", "val"):
        file = root / split / "images" / "a.jpg"
        Image.new("RGB", (200, 100)).save(file, exif=exif)
        file.with_suffix(".png").unlink()
    convert(root, tmp_path / "coco")
    content = json.loads((tmp_path / "coco" / "train.json").read_text())
    (image,) = content["images"]
    assert (image["width"], image["height"]) == (100, 200)
    box = content["annotations"][0]["bbox"]
    np.testing.assert_allclose(box, [20, 80, 10, 40], atol=1e-4)
    # Pascal VOC says what size the boxes belong to.
    for split in ("train", "val"):
        put(root / split / "images" / "a.xml", xml(("a", 1, 1, 9, 9), size=(200, 100)))
    (root / "data.yaml").unlink()
    assert "images of another size than the file lists" in titles(root)


@pytest.mark.parametrize(
    ("label", "title"),
    [
        ("0 0.5 0.5", "label files that cannot be used"),
        ("0 0.5 0.5 nan 0.1", "label files that cannot be used"),
        ("0.5 0.5 0.5 0.1 0.1", "label files that cannot be used"),
        ("2 0.5 0.5 0.1 0.1", "label files that cannot be used"),
        ("-1 0.5 0.5 0.1 0.1", "label files that cannot be used"),
        ("<annotation>", "label files that cannot be used"),
        (xml(("a", 1, 1, "x", 9)), "label files that cannot be used"),
        ("0 64 64 10 10", "boxes that do not lie in their picture"),  # pixels
        ("0 0.5 0.5 1.2 0.1", "boxes that do not lie in their picture"),
        (xml(("a", 200, 1, 210, 9)), "boxes that do not lie in their picture"),
        (
            xml(("a", 1, 1, 9, 9), size=(64, 64)),
            "images of another size than the file lists",
        ),
    ],
)
def test_faulty_labels_are_named_and_their_pictures_left_out(tmp_path, label, title):
    data = read_labels(find_labels(one_picture(tmp_path, label)))
    faults = serious(data.problems)
    assert {problem.kind.title for problem in faults} == {title}
    assert all("a." in problem.message for problem in faults)
    assert [len(part) for part in data.splits.values()] == [0, 0]


def test_boxes_are_cut_at_the_edge(tmp_path):
    root = one_picture(tmp_path, "0 0.95 0.5 0.2 0.5")
    assert convert(root, tmp_path / "coco") == {
        "boxes that reach beyond their picture": 2,
        ABSENT: 1,
    }
    (box,) = boxes_of(tmp_path / "coco" / "train.json")["a.png"]
    np.testing.assert_allclose(box[1:], [108.8, 32, 19.2, 64], atol=1e-4)


def test_what_is_left_out_or_looks_odd_is_said(tmp_path):
    root = one_picture(tmp_path, xml(("cat", 1, 1, 9, 9), (" Cat", 1, 1, 9, 9)))
    put(root / "train" / "images" / "gone.xml", xml())
    put(root / "train" / "images" / "bare.png", np.zeros((8, 8, 3), "uint8"))
    put(root / "train" / "images" / "a.jpg", np.zeros((8, 8, 3), "uint8"))
    put(root / "train" / "images" / "b.png", np.zeros((8, 8, 3), "uint8"))
    put(root / "train" / "images" / "b.xml", xml(size=(8, 8)))
    (root / "train" / "images" / "broken.png").write_bytes(b"no picture")
    assert titles(root) == {
        "label files without a picture",
        "pictures without a label file",
        "label files of several pictures",
        "image files that cannot be read",
        "names of classes that differ in case or spaces only",
        ABSENT,
    }


def test_a_picture_that_is_trained_and_tested_on_is_named(tmp_path):
    root = one_picture(tmp_path, "0 0.5 0.5 0.1 0.1")
    text = "train: train/images\nval: train/images\nnames: [a]"
    (root / "data.yaml").write_text(text)
    assert titles(root) == {"pictures in two sets"}


def test_a_part_of_the_training_pictures_may_become_the_validation_set(
    digits, tmp_path
):
    put_yolo(tmp_path / "yolo", {"train": digits["train"]}, "images")
    (tmp_path / "yolo" / "classes.txt").write_text("\n".join("0123456789"))
    files = find_labels(tmp_path / "yolo")
    with pytest.raises(ConfigError, match=r"--val-fraction 0\.2 takes a fifth"):
        read_labels(files)
    for fraction, message in ((2, "between 0 and 1"), (0.99, "no picture for train")):
        with pytest.raises(ConfigError, match=message):
            read_labels(files, fraction)
    parts = [read_labels(files, 0.25).splits for _ in range(2)]
    assert [len(parts[0][split]) for split in ("train", "val")] == [6, 2]
    paths = {*parts[0]["train"].image_paths, *parts[0]["val"].image_paths}
    assert len(paths) == 8
    assert parts[0]["val"].image_paths == parts[1]["val"].image_paths


def test_what_is_there_is_not_written_over(tmp_path):
    root = one_picture(tmp_path / "yolo", "0 0.5 0.5 0.1 0.1")
    with pytest.raises(ConfigError, match="empty or new"):
        convert(root, root)


def test_pictures_of_one_name_in_a_set_are_named_and_left_out(tmp_path):
    root = one_picture(tmp_path / "yolo", "0 0.5 0.5 0.1 0.1")
    put(root / "train" / "images" / "more" / "a.png", np.zeros((40, 40, 3), "uint8"))
    found = convert(root, tmp_path / "coco")
    assert found["pictures of one name in a set"] == 1
    content = json.loads((tmp_path / "coco" / "train.json").read_text())
    assert [row["width"] for row in content["images"]] == [128]


def test_linked_folders_belong_to_a_data_set(tmp_path):
    root = one_picture(tmp_path / "yolo", "0 0.5 0.5 0.1 0.1")
    expected = convert(root, tmp_path / "unlinked")
    for kind in ("images", "labels"):
        (root / "train" / kind).rename(tmp_path / kind)
        (root / "train" / kind).symlink_to(tmp_path / kind)
        (tmp_path / kind / "around").symlink_to(tmp_path / kind)
    assert convert(root, tmp_path / "coco") == expected
    written = [tmp_path / name / "train.json" for name in ("unlinked", "coco")]
    assert written[0].read_text() == written[1].read_text()
