"""Messages say what they leave out."""

import pytest

from mmdet_lite.messages import first_few


@pytest.mark.parametrize(
    ("texts", "listed"), [("", ""), ("ab", "a, b"), ("abc", "a, b, …")]
)
def test_what_is_beyond_the_first_few_is_hinted_at(texts, listed):
    assert first_few(texts, 2) == listed
    assert first_few(iter(texts), 2) == listed
