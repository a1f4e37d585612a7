"""Every dict of a config is found, with the way to it."""

from mmengine.config import ConfigDict

from mmdet_lite.config_parts import keys_of, parts_of

MODEL = ConfigDict(
    type="A",
    heads=[{"type": "B", "loss": {"type": "C"}}, [({"type": "D"},)]],
    neck={"type": "E", "width": 3},
)


def test_parts_come_in_the_configs_order_each_before_those_inside():
    found = {path: part["type"] for path, part in parts_of(MODEL, "model")}
    assert list(found.items()) == [
        ("model", "A"),
        ("model.heads[0]", "B"),
        ("model.heads[0].loss", "C"),
        ("model.heads[1][0][0]", "D"),
        ("model.neck", "E"),
    ]


def test_parts_are_those_of_the_config_and_not_copies():
    by_path = dict(parts_of(MODEL))
    assert by_path[""] is MODEL
    assert by_path["neck"] is MODEL.neck


def test_what_is_no_config_has_no_parts():
    assert [*parts_of(None), *parts_of("neck"), *parts_of(3), *parts_of([])] == []


def test_keys_are_without_places_in_lists():
    assert keys_of("model.heads[1][0][12].loss") == ["model", "heads", "loss"]
    assert keys_of("[0]") == [""]
