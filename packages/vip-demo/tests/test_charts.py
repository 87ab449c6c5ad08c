"""The pictures besides the heat map: what they draw, as the browser gets it."""

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go
import pytest
import torch
from vip_demo import Inspection
from vip_demo.charts import (
    MOST_BARS,
    effect_of_each,
    map_of,
    probabilities,
    shares_of,
    shares_side_by_side,
    trace_of,
    use_of_all,
)
from vip_demo.codes import Map, Trace
from vip_demo.comparison import compare
from vip_demo.effects import Effect
from vip_demo.survey import Use

Make = Callable[..., Inspection]


def parts(figure: go.Figure) -> dict[str, dict[str, Any]]:
    """Its traces by name."""
    return {part["name"]: part for part in figure.to_plotly_json()["data"]}


def test_both_texts_have_a_bar_for_each_code_that_one_holds(make_inspection: Make) -> None:
    first = make_inspection(torch.tensor([[0.7, 0.3, 0.0, 0.0]]))
    second = make_inspection(torch.tensor([[0.0, 0.4, 0.6, 0.0]]))
    drawn = parts(shares_side_by_side(first, second, compare(first, second)))
    assert list(drawn["first"]["x"]) == list(drawn["second"]["x"])
    assert dict(zip(drawn["first"]["x"], drawn["first"]["y"], strict=True)) == pytest.approx({"0": 0.7, "1": 0.3, "2": 0.0})
    assert dict(zip(drawn["second"]["x"], drawn["second"]["y"], strict=True)) == pytest.approx({"0": 0.0, "1": 0.4, "2": 0.6})
    assert drawn["second"]["marker"]["pattern"]["shape"] == "/", "colour alone would not tell them apart"


def test_answers_have_a_bar_before_and_after() -> None:
    drawn = parts(probabilities({"a": 0.9, "b": 0.1}, {"b": 0.6, "a": 0.4}, names=("before", "after")))
    assert (list(drawn["before"]["y"]), list(drawn["before"]["x"])) == (["a", "b"], [0.9, 0.1])
    assert (list(drawn["after"]["y"]), list(drawn["after"]["x"])) == (["a", "b"], [0.4, 0.6])


def test_effects_keep_their_order(make_inspection: Make) -> None:
    after = make_inspection(torch.tensor([[1.0]]))
    found = [Effect((code,), after, {}, code / 100) for code in range(30, 0, -1)]
    (bars,) = effect_of_each(found).to_plotly_json()["data"]
    assert list(bars["x"]) == [str(code) for code in range(30, 30 - MOST_BARS, -1)]
    assert list(bars["y"]) == [code / 100 for code in range(30, 30 - MOST_BARS, -1)]


def test_shares_stand_beside_those_of_all_texts() -> None:
    drawn = parts(shares_of({"a": 0.2, "b": 0.8}, {"a": 0.5, "b": 0.5}, "label"))
    assert (list(drawn["this code"]["y"]), list(drawn["this code"]["x"])) == (["b", "a"], [0.8, 0.2])
    assert list(drawn["all texts"]["x"]) == [0.5, 0.5]


def test_a_trace_is_a_line_over_steps() -> None:
    drawn = parts(trace_of(Trace((50, 100), torch.tensor([[0.0, 0.0], [0.25, 0.75]])), 1))
    assert (list(drawn["this code"]["x"]), list(drawn["this code"]["y"])) == ([50, 100], [0.0, 0.75])
    assert list(drawn["even use"]["y"]) == [0.5, 0.5]


def test_the_map_groups_codes_and_shows_the_dead() -> None:
    used = [Use(2, 0.6, {"yes": 0.9, "no": 0.1}, {"x": 1.0}), Use(0, 0.4, {"no": 1.0}, {"x": 1.0}), Use(1, 0.0, {}, {})]
    places = Map(torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]), (0.7, 0.2))
    drawn = parts(map_of(places, used, "label"))
    assert set(drawn) == {"yes", "no", "dead"}
    assert (list(drawn["yes"]["x"]), list(drawn["yes"]["y"]), list(drawn["yes"]["text"])) == ([4.0], [5.0], ["2"])
    assert (list(drawn["dead"]["x"]), list(drawn["dead"]["text"])) == ([2.0], ["1"])
    assert drawn["yes"]["marker"]["size"][0] > drawn["no"]["marker"]["size"][0] > drawn["dead"]["marker"]["size"][0]
    assert drawn["yes"]["marker"]["color"] != drawn["no"]["marker"]["color"]
    assert drawn["yes"]["marker"]["symbol"] != drawn["no"]["marker"]["symbol"]
    assert set(parts(map_of(places, used, "domain"))) == {"x", "dead"}


def test_use_is_drawn_for_all_codes() -> None:
    (bars,) = use_of_all([Use(3, 0.9, {}, {}), Use(1, 0.1, {}, {})]).to_plotly_json()["data"]
    assert (list(bars["x"]), list(bars["y"])) == (["3", "1"], [0.9, 0.1])


def test_no_picture_has_a_background_of_its_own(make_inspection: Make) -> None:
    found = make_inspection(torch.tensor([[0.7, 0.3]]))
    for figure in (
        shares_side_by_side(found, found, compare(found, found)),
        probabilities({"a": 1.0}, {"a": 1.0}, names=("x", "y")),
        use_of_all([Use(3, 0.9, {}, {})]),
    ):
        sent = figure.to_plotly_json()["layout"]
        assert sent["paper_bgcolor"] == sent["plot_bgcolor"] == "rgba(0,0,0,0)"
