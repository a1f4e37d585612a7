"""Messages say what they leave out."""

import pytest

from mmdet_lite.messages import first_few, first_line


@pytest.mark.parametrize(
    ("texts", "listed"), [("", ""), ("ab", "a, b"), ("abc", "a, b, …")]
)
def test_what_is_beyond_the_first_few_is_hinted_at(texts, listed):
    assert first_few(texts, 2) == listed
    assert first_few(iter(texts), 2) == listed


@pytest.mark.parametrize(
    ("said", "line"), [("\n one\ntwo", "one"), ("", "RuntimeError")]
)
def test_an_error_is_said_in_a_line(said, line):
    assert first_line(RuntimeError(said)) == line
