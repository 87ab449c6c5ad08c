"""Draws an inspection: prompt tokens by the codes in use, the colour is the weight.

The shorter of the two lies along the page, so that the numbers in the cells can be read on a phone.

P prompt tokens, U codes in use, C codes drawn.
"""

import plotly.graph_objects as go

from vip_demo.inspection import Inspection
from vip_demo.style import layout

MOST_CODES = 40
"""More would be too small to read; the rest is said in words, see `left_out`."""
LEAST_WRITTEN = 0.05
"""A cell shows its weight as a number from here on, where cells are wide enough."""

_MOST_ACROSS = 16  # cells side by side that are wide enough for a number on a phone
_SCALE_ENDS = (0.1, 0.25, 0.5, 1.0)
_ROWS_HEIGHT, _LEAST_ROW, _MOST_ROW, _AROUND = 600, 18, 30, 160  # pixels
_DARK = 0.47  # share of the colour scale on which white is easier to read than black
_CODES, _TOKENS = "code, the most used first", "prompt token"


def heat_map(found: Inspection) -> go.Figure:
    """The picture of a selection. Backgrounds are transparent, so that it fits a light and a dark page.

    Raises:
        ValueError: no code is in use, so there is nothing to draw.
    """
    if not found.code_U:
        raise ValueError("no code is in use: there is nothing to draw")
    weight_PC = found.weight_PU[:, :MOST_CODES]
    codes = [str(code) for code in found.code_U[:MOST_CODES]]
    tokens = [str(token) for token in range(len(weight_PC))]
    end = _scale_end(float(weight_PC.max()))
    across = len(tokens) <= len(codes)
    columns, rows = (tokens, codes) if across else (codes, tokens)
    token, code = ("x", "y") if across else ("y", "x")
    cell: list[list[float]] = (weight_PC.T if across else weight_PC).tolist()
    cells = go.Heatmap(
        z=cell,
        x=columns,
        y=rows,
        zmin=0.0,
        zmax=end,
        colorscale="cividis",
        colorbar={
            "title": {"text": "weight", "side": "top"},
            "orientation": "h",
            "y": 1.0,
            "yanchor": "bottom",
            "thickness": 12,
            "outlinewidth": 0,
            "tickfont": {"size": 13},
        },
        xgap=1,
        ygap=1,
        hovertemplate=f"prompt token %{{{token}}}<br>code %{{{code}}}<br>weight %{{z:.3f}}<extra></extra>",
    )
    numbers = [
        (column, row, weight)
        for row, weights in zip(rows, cell, strict=True)
        for column, weight in zip(columns, weights, strict=True)
        if weight >= LEAST_WRITTEN and len(columns) <= _MOST_ACROSS
    ]
    # Numbers of codes and tokens are names: as categories each has its own tick and no gaps between.
    axis = {"type": "category", "dtick": 1, "showgrid": False, "ticks": "", "ticklabelstandoff": 6}
    crowded = len(columns) > _MOST_ACROSS
    return go.Figure(
        [
            cells,
            _writing([number for number in numbers if number[2] < _DARK * end], "white"),
            _writing([number for number in numbers if number[2] >= _DARK * end], "black"),
        ],
        layout(
            height=_AROUND + len(rows) * max(_LEAST_ROW, min(_MOST_ROW, _ROWS_HEIGHT // len(rows))),
            x=_TOKENS if across else _CODES,
            y=_CODES if across else _TOKENS,
            showlegend=False,
            margin={"l": 60, "r": 10, "t": 70, "b": 60},
            xaxis={**axis, "range": [-0.5, len(columns) - 0.5], "tickangle": -90 if crowded else 0},
            yaxis={**axis, "range": [len(rows) - 0.5, -0.5]},
        ),
    )


def left_out(found: Inspection) -> str:
    """What the picture does not show, as a sentence; empty when it shows every code in use."""
    hidden = len(found.code_U) - MOST_CODES
    if hidden <= 0:
        return ""
    share = float(found.weight_PU[:, MOST_CODES:].sum() / found.weight_PU.sum())
    return f"The picture shows the {MOST_CODES} most used; the other {hidden} hold {share:.0%} of the weight."


def _writing(numbers: list[tuple[str, str, float]], colour: str) -> go.Scatter:
    """Weights on top of their cells (column, row, weight), without the leading zero for which a narrow cell has no room."""
    return go.Scatter(
        x=[column for column, _, _ in numbers],
        y=[row for _, row, _ in numbers],
        text=[f"{weight:.2f}".removeprefix("0") for _, _, weight in numbers],
        mode="text",
        textfont={"size": 11, "color": colour},
        hoverinfo="skip",
    )


def _scale_end(largest: float) -> float:
    """The colour scale's end: one of a few steps, so that pictures of different texts mostly share it."""
    return next((end for end in _SCALE_ENDS if largest <= end), _SCALE_ENDS[-1])
