"""What all pictures have in common: colours that colour-blind people can tell apart, and no background of their own."""

from typing import Any

import plotly.graph_objects as go

PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", "#999999")
"""Of Okabe and Ito (2008); used over again for more kinds than these."""
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "star", "pentagon", "hexagram")
"""Beside the colours, for who cannot tell them apart."""
FIRST, SECOND = PALETTE[0], PALETTE[1]
GREY = PALETTE[7]

CSS = """
/* Plotly paints its own text in one colour, which cannot suit a light and a dark page; numbers in cells are left alone. */
.js-plotly-plot .infolayer text, .js-plotly-plot .xaxislayer-above text, .js-plotly-plot .yaxislayer-above text,
.js-plotly-plot .legend text { fill: var(--body-text-color) !important; }
.js-plotly-plot { max-width: 100%; }
#examples .wrap { flex-direction: column; }
#summary, .reading, .said { font-size: var(--text-lg); }
#problem { color: var(--error-text-color, #b91c1c); font-weight: 600; }
.words { line-height: 2; font-size: var(--text-lg); color: var(--body-text-color); overflow-wrap: anywhere; margin: 0.5em 0; }
.words .word { padding: 0.15em 0.2em; border-radius: 0.25em; border-bottom: calc(4px * var(--much)) solid #0072b2;
  background: color-mix(in srgb, #56b4e9 calc(75% * var(--much)), transparent); }
@media (max-width: 640px) { .gradio-container { padding: 8px !important; } }
"""


def layout(*, height: int, x: str, y: str, **more: Any) -> go.Layout:
    """A picture without background, with both axes named.

    Args:
        height: pixels.
        x: title of the horizontal axis.
        y: title of the vertical axis.
        **more: of `plotly.graph_objects.Layout`; what it says of an axis is added to what is said here.
    """
    axis = {"zeroline": False, "gridcolor": "rgba(128,128,128,0.25)", "tickfont": {"size": 13}, "automargin": True}
    return go.Layout(
        **{
            "template": "none",
            "font": {"size": 14, "color": "#374151"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "height": height,
            "margin": {"l": 75, "r": 10, "t": 30, "b": 60},
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 13}},
            **more,
            "xaxis": {**axis, "title": {"text": x}, **more.get("xaxis", {})},
            "yaxis": {**axis, "title": {"text": y}, **more.get("yaxis", {})},
        }
    )


def colour(number: int) -> str:
    """Of the kind with this number."""
    return PALETTE[number % len(PALETTE)]
