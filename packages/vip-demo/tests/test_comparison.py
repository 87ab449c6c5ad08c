"""Two inspections against distances counted by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from vip_demo import Inspection
from vip_demo.comparison import LEAST_HELD, compare


def test_codes_are_shared_or_not(make_inspection: Callable[..., Inspection]) -> None:
    first = make_inspection(torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]]))
    second = make_inspection(torch.tensor([[0.0, 0.5, 0.5, 0.0], [0.0, 0.9, 0.1, 0.0]]))
    found = compare(first, second)
    assert (found.shared, found.only_first, found.only_second) == ((1,), (0,), (2,))
    assert found.changed_tokens == (0, 1)


def test_a_trace_of_a_code_is_not_held(make_inspection: Callable[..., Inspection]) -> None:
    little = LEAST_HELD / 2
    first = make_inspection(torch.tensor([[1 - little, little]]))
    assert compare(first, make_inspection(torch.tensor([[0.5, 0.5]]))).only_second == (1,)


def test_distances_run_from_none_to_all(make_inspection: Callable[..., Inspection]) -> None:
    first, second = make_inspection(torch.tensor([[1.0, 0.0]])), make_inspection(torch.tensor([[0.0, 1.0]]))
    assert compare(first, first)[3:] == (0.0, 0.0, ())
    assert compare(first, second).code_distance == pytest.approx(1.0)
    half = make_inspection(torch.tensor([[0.5, 0.5]]))
    # JSD of (1, 0) and (.5, .5): H(.75, .25) - (0 + 1) / 2.
    expected = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)) - 0.5
    assert compare(first, half).code_distance == pytest.approx(expected)


def test_the_prompt_moves_in_units_of_the_first(make_inspection: Callable[..., Inspection]) -> None:
    first = make_inspection(torch.tensor([[1.0]]), prompt_PD=torch.tensor([[3.0, 4.0]]))
    second = make_inspection(torch.tensor([[1.0]]), prompt_PD=torch.tensor([[3.0, -6.0]]))
    assert compare(first, second).prompt_distance == pytest.approx(2.0)


def test_without_codes_only_the_prompt_differs(make_inspection: Callable[..., Inspection]) -> None:
    first = make_inspection(torch.zeros(2, 0), method="vip-c")
    found = compare(first, first._replace(prompt_PD=2 * first.prompt_PD))
    assert found == ((), (), (), 0.0, pytest.approx(1.0), ())


@pytest.mark.parametrize("change", [{"how": "argmax"}, {"method": "vip-q"}, {"prompt_PD": torch.ones(1, 5)}])
def test_only_like_is_compared_with_like(make_inspection: Callable[..., Inspection], change: dict[str, object]) -> None:
    first = make_inspection(torch.tensor([[1.0]]))
    with pytest.raises(ValueError, match="different adapters or selections"):
        compare(first, first._replace(**change))
