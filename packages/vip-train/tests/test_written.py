"""YAML is the text that stands there."""

import pytest
import yaml
from vip_train.written import read_yaml


def test_scalars_are_texts() -> None:
    text = "[yes, off, 0, 1e-4, 0x10, 2020-01-01, 1:30, ~, null, '', a b]"
    assert read_yaml(text) == ["yes", "off", "0", "1e-4", "0x10", "2020-01-01", "1:30", None, None, "", "a b"]


def test_mappings_may_be_merged() -> None:
    assert read_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}") == {"a": {"x": "1"}, "b": {"x": "1", "y": "2"}}


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: {b: 1, b: 2}", "{1: a, '1': b}"])
def test_a_key_that_comes_twice_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="comes twice"):
        read_yaml(text)
