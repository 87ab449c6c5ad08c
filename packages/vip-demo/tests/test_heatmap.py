"""The picture has prompt tokens on one side and the codes in use on the other, and says what it leaves out."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from vip_demo import Inspection, heat_map
from vip_demo.heatmap import LEAST_WRITTEN, MOST_CODES, left_out


def inspection(weight_PU: torch.Tensor) -> Inspection:
    count = weight_PU.shape[1]
    return Inspection(
        text="text",
        answer="red",
        probability={"red": 1.0},
        method="vip",
        how="expected",
        codes=100,
        share_K=torch.zeros(100),
        code_U=tuple(range(7, 7 + count)),
        weight_PU=weight_PU,
        perplexity=3.0,
        words=(),
        attention_PW=torch.zeros(len(weight_PU), 0),
        prompt_PD=torch.zeros(len(weight_PU), 4),
    )


@dataclass
class Drawn:
    """A figure as the browser gets it."""

    cells: dict[str, Any]
    written: dict[tuple[str, str], str]
    """Number by column and row."""
    layout: dict[str, Any]


def draw(weight_PU: torch.Tensor) -> Drawn:
    sent = heat_map(inspection(weight_PU)).to_plotly_json()
    cells, *writings = sent["data"]
    written = {(x, y): text for part in writings for x, y, text in zip(part["x"], part["y"], part["text"], strict=True)}
    return Drawn(cells, written, sent["layout"])


def test_the_shorter_side_lies_along_the_page() -> None:
    drawn = draw(torch.tensor([[0.75, 0.25], [0.5, 0.5], [1.0, 0.0]]))
    assert (list(drawn.cells["x"]), list(drawn.cells["y"])) == (["7", "8"], ["0", "1", "2"])
    assert [list(row) for row in drawn.cells["z"]] == [[0.75, 0.25], [0.5, 0.5], [1.0, 0.0]]
    assert list(drawn.layout["yaxis"]["range"]) == [2.5, -0.5]  # the first token is on top
    assert drawn.layout["yaxis"]["title"]["text"] == "prompt token"
    assert drawn.layout["xaxis"]["title"]["text"] == "code, the most used first"
    turned = draw(torch.tensor([[0.75, 0.2, 0.05], [0.5, 0.3, 0.2]]))
    assert (list(turned.cells["x"]), list(turned.cells["y"])) == (["0", "1"], ["7", "8", "9"])
    assert [list(row) for row in turned.cells["z"]] == [pytest.approx(row) for row in ([0.75, 0.5], [0.2, 0.3], [0.05, 0.2])]
    assert turned.layout["yaxis"]["title"]["text"] == "code, the most used first"
    assert "prompt token %{x}<br>code %{y}" in turned.cells["hovertemplate"]
    assert "prompt token %{y}<br>code %{x}" in drawn.cells["hovertemplate"]


def test_every_row_and_column_has_its_label() -> None:
    drawn = draw(torch.full((100, MOST_CODES), 1 / MOST_CODES))
    for axis in ("xaxis", "yaxis"):
        assert (drawn.layout[axis]["type"], drawn.layout[axis]["dtick"]) == ("category", 1)


@pytest.mark.parametrize(("tokens", "least", "most"), [(1, 150, 300), (10, 300, 500), (100, 1800, 2000)])
def test_rows_stay_high_enough_to_read(tokens: int, least: int, most: int) -> None:
    assert least <= draw(torch.ones(tokens, 1)).layout["height"] <= most


def test_only_large_weights_are_written() -> None:
    drawn = draw(torch.tensor([[1.0, 0.956, 0.0], [0.04999, LEAST_WRITTEN, 0.2]]))
    assert drawn.written == {("0", "7"): "1.00", ("0", "8"): ".96", ("1", "8"): ".05", ("1", "9"): ".20"}


def test_nothing_is_written_where_cells_are_too_narrow() -> None:
    assert len(draw(torch.full((16, 17), 0.5)).written) == 16 * 17
    assert draw(torch.full((17, 17), 0.5)).written == {}


def test_numbers_stand_out_from_their_cells() -> None:
    light, dark = heat_map(inspection(torch.tensor([[0.9, 0.3], [0.1, 0.6]]))).to_plotly_json()["data"][1:]
    assert (light["textfont"]["color"], list(light["text"])) == ("white", [".10", ".30"])
    assert (dark["textfont"]["color"], list(dark["text"])) == ("black", [".90", ".60"])


@pytest.mark.parametrize(("largest", "end"), [(0.03, 0.1), (0.1, 0.1), (0.11, 0.25), (0.5, 0.5), (0.51, 1.0), (1.0, 1.0)])
def test_colour_scale_starts_at_nothing_and_ends_on_a_step(largest: float, end: float) -> None:
    drawn = draw(torch.tensor([[largest, 0.0]], dtype=torch.float64))
    assert (drawn.cells["zmin"], drawn.cells["zmax"]) == (0.0, end)


def test_backgrounds_let_the_page_through() -> None:
    drawn = draw(torch.tensor([[1.0]]))
    assert drawn.layout["paper_bgcolor"] == drawn.layout["plot_bgcolor"] == "rgba(0,0,0,0)"


def test_says_how_much_is_not_shown() -> None:
    weight_PU = torch.cat([torch.full((2, MOST_CODES), 0.9 / MOST_CODES), torch.full((2, 5), 0.02)], dim=1)
    assert len(draw(weight_PU).cells["y"]) == MOST_CODES
    assert left_out(inspection(weight_PU)) == "The picture shows the 40 most used; the other 5 hold 10% of the weight."
    assert left_out(inspection(weight_PU[:, :MOST_CODES])) == ""


def test_nothing_in_use_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="no code is in use"):
        heat_map(inspection(torch.zeros(3, 0)))
