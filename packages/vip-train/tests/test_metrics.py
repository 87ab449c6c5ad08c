"""Exact match against counting by hand."""

from vip_train.metrics import exact_match
from vip_train.tasks import Example


def test_answers_match_up_to_white_space_around_them() -> None:
    examples = [Example("text", target, "") for target in ("a b", "c", "d", " e")]
    assert exact_match(["a b ", "c", "D", "e"], examples) == 3 / 4
    assert exact_match(["a  b", "", "x", "y"], examples) == 0.0
