"""Draws an inspection: one row per prompt token, one column per code in use, the colour is the weight.

P prompt tokens, U codes in use, C columns drawn.
"""

import plotly.graph_objects as go

from vip_demo.inspection import Inspection

MOST_COLUMNS = 40
"""More would be too narrow to read on a laptop; the rest is said in words, see `left_out`."""
LEAST_WRITTEN = 0.05
"""A cell shows its weight as a number from here on."""

_SCALE_ENDS = (0.1, 0.25, 0.5, 1.0)
_ROWS_HEIGHT, _LEAST_ROW, _MOST_ROW, _AROUND = 600, 18, 30, 130  # pixels
_DARK = 0.47  # share of the colour scale on which white is easier to read than black
_CROWDED = 25  # columns from which code numbers no longer fit side by side


def heat_map(found: Inspection) -> go.Figure:
    """The picture of a selection. Backgrounds are transparent, so that it fits a light and a dark page.

    Raises:
        ValueError: no code is in use, so there is nothing to draw.
    """
    if not found.code_U:
        raise ValueError("no code is in use: there is nothing to draw")
    weight_PC: list[list[float]] = found.weight_PU[:, :MOST_COLUMNS].tolist()
    columns = [str(code) for code in found.code_U[:MOST_COLUMNS]]
    rows = [str(token) for token in range(len(weight_PC))]
    end = _scale_end(max(map(max, weight_PC)))
    cells = go.Heatmap(
        z=weight_PC,
        x=columns,
        y=rows,
        zmin=0.0,
        zmax=end,
        colorscale="cividis",
        colorbar={"title": {"text": "weight", "side": "right"}, "thickness": 14, "outlinewidth": 0, "tickfont": {"size": 13}},
        xgap=1,
        ygap=1,
        hovertemplate="prompt token %{y}<br>code %{x}<br>weight %{z:.3f}<extra></extra>",
    )
    numbers = [
        (column, row, weight)
        for row, weight_C in zip(rows, weight_PC, strict=True)
        for column, weight in zip(columns, weight_C, strict=True)
        if weight >= LEAST_WRITTEN
    ]
    # Numbers of codes and tokens are names: as categories each has its own tick and no gaps between.
    axis = {
        "type": "category",
        "dtick": 1,
        "showgrid": False,
        "zeroline": False,
        "ticks": "",
        "tickfont": {"size": 13},
        "ticklabelstandoff": 6,
    }
    return go.Figure(
        [
            cells,
            _writing([number for number in numbers if number[2] < _DARK * end], "white"),
            _writing([number for number in numbers if number[2] >= _DARK * end], "black"),
        ],
        go.Layout(
            showlegend=False,
            template="none",
            font={"size": 14, "color": "#374151"},
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
            height=_AROUND + len(rows) * max(_LEAST_ROW, min(_MOST_ROW, _ROWS_HEIGHT // len(rows))),
            margin={"l": 70, "r": 20, "t": 20, "b": 85},
            xaxis={
                **axis,
                "title": {"text": "code, the most used first"},
                "tickangle": -90 if len(columns) > _CROWDED else 0,
                "range": [-0.5, len(columns) - 0.5],
            },
            yaxis={**axis, "title": {"text": "prompt token"}, "range": [len(rows) - 0.5, -0.5]},
        ),
    )


def left_out(found: Inspection) -> str:
    """What the picture does not show, as a sentence; empty when it shows every code in use."""
    hidden = len(found.code_U) - MOST_COLUMNS
    if hidden <= 0:
        return ""
    share = float(found.weight_PU[:, MOST_COLUMNS:].sum() / found.weight_PU.sum())
    return f"The picture shows the {MOST_COLUMNS} most used; the other {hidden} hold {share:.0%} of the weight."


def _writing(numbers: list[tuple[str, str, float]], colour: str) -> go.Scatter:
    """Weights on top of their cells (column, row, weight), without the leading zero for which a narrow cell has no room."""
    return go.Scatter(
        x=[column for column, _, _ in numbers],
        y=[row for _, row, _ in numbers],
        text=[f"{weight:.2f}".removeprefix("0") for _, _, weight in numbers],
        mode="text",
        textfont={"size": 12, "color": colour},
        hoverinfo="skip",
    )


def _scale_end(largest: float) -> float:
    """The colour scale's end: one of a few steps, so that pictures of different texts mostly share it."""
    return next((end for end in _SCALE_ENDS if largest <= end), _SCALE_ENDS[-1])
