"""The pictures besides the heat map. They draw what the inspection layer found and compute nothing of it.

K codes, U codes drawn, T evaluations.
"""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from vip_demo.codes import Map, Trace
from vip_demo.comparison import Comparison
from vip_demo.effects import Effect
from vip_demo.inspection import LEAST_SHARE, Inspection
from vip_demo.style import FIRST, GREY, SECOND, SYMBOLS, colour, layout
from vip_demo.survey import Use, main_of

MOST_BARS = 20
"""Codes that are drawn side by side; more would be too narrow for a phone."""
_NAMES = {"type": "category", "dtick": 1, "showgrid": False}
_ROW = 34  # pixels of a horizontal bar
_OVER = {"fillmode": "overlay", "solidity": 0.15}  # lines on top of the colour


def shares_side_by_side(first: Inspection, second: Inspection, compared: Comparison) -> go.Figure:
    """Two bars for each code that one of two texts holds, those most held first."""
    held = [*compared.shared, *compared.only_first, *compared.only_second]
    held.sort(key=lambda code: -float(first.share_K[code] + second.share_K[code]))
    codes = held[:MOST_BARS]
    names = [str(code) for code in codes]
    bars = [
        go.Bar(
            name=name,
            x=names,
            y=[float(found.share_K[code]) for code in codes],
            marker={"color": paint, "pattern": {"shape": pattern, **_OVER}},
            hovertemplate="code %{x}<br>%{y:.1%} of the weight<extra>" + name + "</extra>",
        )
        for name, found, paint, pattern in (("first", first, FIRST, ""), ("second", second, SECOND, "/"))
    ]
    return go.Figure(
        bars, layout(height=360, x="code", y="share of the text's weight", xaxis=_NAMES, yaxis={"tickformat": ".0%"})
    )


def probabilities(before: Mapping[str, float], after: Mapping[str, float], *, names: tuple[str, str]) -> go.Figure:
    """Two bars for each fixed answer."""
    answers = list(before)
    bars = [
        go.Bar(
            name=name,
            y=answers,
            x=[values[answer] for answer in answers],
            orientation="h",
            text=[f"{values[answer]:.1%}" for answer in answers],
            textposition="auto",
            marker={"color": paint, "pattern": {"shape": pattern, **_OVER}},
            textfont={"color": "black" if paint == SECOND else "white"},
            outsidetextfont={"color": "#808080"},
            hovertemplate="%{y}: %{x:.1%}<extra>" + name + "</extra>",
        )
        for name, values, paint, pattern in ((names[0], before, FIRST, ""), (names[1], after, SECOND, "/"))
    ]
    return go.Figure(
        bars,
        layout(
            height=110 + 2 * _ROW * len(answers),
            x="probability",
            y="",
            xaxis={"range": [0, 1], "tickformat": ".0%"},
            yaxis={"type": "category", "autorange": "reversed"},
        ),
    )


def effect_of_each(found: Sequence[Effect]) -> go.Figure:
    """A bar for each code in use: how much probability moves when it alone is off; the most used code first."""
    shown = found[:MOST_BARS]
    moved = go.Bar(
        x=[str(effect.codes[0]) for effect in shown],
        y=[effect.distance for effect in shown],
        marker={"color": FIRST},
        hovertemplate="without code %{x}<br>%{y:.2%} of the probability moves<extra></extra>",
    )
    return go.Figure(
        [moved],
        layout(
            height=320,
            x="code switched off",
            y="probability moved",
            xaxis=_NAMES,
            yaxis={"tickformat": ".3~%", "rangemode": "tozero"},
        ),
    )


def shares_of(share: Mapping[str, float], overall: Mapping[str, float], title: str) -> go.Figure:
    """Where a code's weight comes from, beside where all texts come from."""
    names = sorted(share, key=lambda name: -share[name])
    bars = [
        go.Bar(
            name=name,
            y=names,
            x=[values.get(each, 0.0) for each in names],
            orientation="h",
            marker={"color": paint},
            hovertemplate="%{y}: %{x:.1%}<extra>" + name + "</extra>",
        )
        for name, values, paint in (("this code", share, FIRST), ("all texts", overall, GREY))
    ]
    return go.Figure(
        bars,
        layout(
            height=130 + _ROW * len(names),
            x=f"share by {title}",
            y="",
            xaxis={"tickformat": ".0%", "rangemode": "tozero"},
            yaxis={"type": "category", "autorange": "reversed"},
        ),
    )


def trace_of(trace: Trace, code: int) -> go.Figure:
    """A code's share over training, beside what an even use of all codes would be."""
    even = 1 / trace.share_TK.shape[1]
    lines = [
        go.Scatter(
            name="this code",
            x=trace.step_T,
            y=trace.share_TK[:, code].tolist(),
            mode="lines+markers",
            line={"color": FIRST},
            hovertemplate="step %{x}<br>%{y:.2%}<extra></extra>",
        ),
        go.Scatter(
            name="even use",
            x=[trace.step_T[0], trace.step_T[-1]],
            y=[even, even],
            mode="lines",
            line={"color": GREY, "dash": "dash"},
            hoverinfo="skip",
        ),
    ]
    return go.Figure(
        lines,
        layout(height=300, x="training step", y="share of all weight", yaxis={"tickformat": ".3~%", "rangemode": "tozero"}),
    )


def map_of(found: Map, used: Sequence[Use], by: str) -> go.Figure:
    """Each code at its place; size is use, colour and shape the label or domain most of its weight comes from.

    Args:
        found: the places.
        used: all codes.
        by: `label` or `domain`.
    """
    main = {use.code: main_of(use.by_label if by == "label" else use.by_group) for use in used}
    kinds = sorted({kind for kind in main.values() if kind})
    most = max((use.share for use in used), default=0.0) or 1.0
    place = found.place_K2.tolist()

    def points(name: str, codes: list[Use], paint: str, symbol: str) -> go.Scatter:
        return go.Scatter(
            name=name,
            x=[place[use.code][0] for use in codes],
            y=[place[use.code][1] for use in codes],
            mode="markers+text" if len(codes) <= 60 else "markers",
            text=[str(use.code) for use in codes],
            textposition="top center",
            textfont={"size": 11, "color": "#808080"},
            marker={
                "color": paint,
                "symbol": symbol,
                "size": [10 + 26 * (use.share / most) ** 0.5 for use in codes],
                "line": {"width": 1, "color": "#808080"},
            },
            customdata=[use.share for use in codes],
            hovertemplate="code %{text}<br>%{customdata:.2%} of all weight<extra>" + name + "</extra>",
        )

    alive = [use for use in used if use.share >= LEAST_SHARE]
    drawn = [
        points(kind, [use for use in alive if main[use.code] == kind], colour(number), SYMBOLS[number % len(SYMBOLS)])
        for number, kind in enumerate(kinds)
    ]
    drawn += [
        points(name, codes, paint, symbol)
        for name, codes, paint, symbol in (
            ("in use", [use for use in alive if not main[use.code]], FIRST, "circle"),
            ("dead", [use for use in used if use.share < LEAST_SHARE], GREY, "x-thin-open"),
        )
        if codes
    ]
    first, second = found.explained
    return go.Figure(
        drawn,
        layout(
            height=520,
            x=f"1st component ({first:.0%})",
            y=f"2nd ({second:.0%})",
            xaxis={"showticklabels": False},
            yaxis={"showticklabels": False},
        ),
    )


def use_of_all(used: Sequence[Use]) -> go.Figure:
    """Each code's share of all weight, the most used first."""
    bars = go.Bar(
        x=[str(use.code) for use in used],
        y=[use.share for use in used],
        marker={"color": FIRST},
        hovertemplate="code %{x}<br>%{y:.2%} of all weight<extra></extra>",
    )
    names = {**_NAMES, "dtick": max(1, len(used) // MOST_BARS), "title": {"text": "code, the most used first"}}
    return go.Figure([bars], layout(height=320, x="", y="share of all weight", xaxis=names, yaxis={"tickformat": ".3~%"}))
