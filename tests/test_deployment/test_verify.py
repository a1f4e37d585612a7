"""A comparison finds what is off, and does not mind the order."""

import numpy as np
import pytest

from mmdet_lite.deployment.verify import compare

BOXES = np.array([[0, 0, 10, 10], [50, 50, 90, 80], [50, 50, 90, 80]], dtype=np.float32)
SCORES = np.array([0.9, 0.8, 0.3], dtype=np.float32)
LABELS = np.array([0, 1, 2])


def changed(index=0, box=0.0, score=0.0, label=0):
    boxes, scores, labels = BOXES.copy(), SCORES.copy(), LABELS.copy()
    boxes[index, 2] += box
    scores[index] += score
    labels[index] += label
    # A runtime's arrays are longer: what it removed scores 0.
    return (
        np.concatenate([boxes, BOXES[:1]]),
        np.append(scores, 0),
        np.append(labels, 0),
    )


def test_the_same_objects_in_another_order_pass():
    order = [2, 0, 3, 1]
    comparison = compare(
        (BOXES, SCORES, LABELS), tuple(array[order] for array in changed())
    )
    assert comparison.passed
    assert (comparison.objects, comparison.box, comparison.score) == (3, 0, 0)


@pytest.mark.parametrize(
    ("change", "misses"),
    [
        ({"box": 0.02}, 0),
        ({"score": 2e-4}, 0),
        ({"box": 2.0}, 2),  # One that is not found, one that is found in its place.
        ({"label": 1}, 2),
        ({"score": -0.9}, 1),
    ],
)
def test_what_is_off_does_not_pass(change, misses):
    comparison = compare((BOXES, SCORES, LABELS), changed(**change))
    assert not comparison.passed
    assert comparison.misses == misses


def test_the_last_that_fits_may_be_another():
    actual = (BOXES, SCORES, np.array([0, 1, 0]))
    assert compare((BOXES, SCORES, LABELS), actual).passed
