"""A study as a picture: a panel for each task, a point for each run."""

from collections.abc import Sequence
from pathlib import Path

from vip_train.final_test import SEEN, UNSEEN
from vip_train.study.figures import Measured, groups, spread
from vip_train.study.file import Study

_COLUMNS = 3


def draw(study: Study, measured: Sequence[Measured], path: Path) -> bool:
    """Writes a PNG of the first scores, of the test split means over seen and unseen tasks; returns whether it could.

    matplotlib, which it needs, is an extra.

    Each run is a point, the mean of a method a bar beside it; the dashed line is what a constant answer reaches.

    Args:
        study: what was asked for.
        measured: the finished runs, at least one.
        path: of the file.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    panels = [
        (task, values, by_method, metric)
        for (task, values), by_method in groups(measured).items()
        for metric in _shown(next(iter(by_method.values()))[0])
    ]
    height = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(3.2 * _COLUMNS, 2.6 * height + 0.3), layout="constrained")
    axes = figure.subplots(height, _COLUMNS, squeeze=False).flat
    for panel, (task, values, by_method, metric) in zip(axes, panels, strict=False):
        some = next(iter(by_method.values()))[0]
        for place, method in enumerate(study.methods):
            if own := by_method.get(method):
                scores = [one.score(metric) for one in own]
                panel.plot([place] * len(scores), scores, "o", color=f"C{place % 10}", alpha=0.6, markersize=5)
                panel.hlines(spread(scores).mean, place - 0.3, place + 0.3, color=f"C{place % 10}")
        panel.axhline(some.constant(metric), linestyle="--", linewidth=1, color="0.5")
        settings = [f"{name} {value}" for name, value in zip(study.axes, values, strict=True)]
        panel.set_title("\n".join([task, *settings]), fontsize=9, parse_math=False)
        panel.set_ylabel(metric, fontsize=8)
        panel.set_xlim(-0.6, len(study.methods) - 0.4)
        steep = 45 if len(study.methods) > 3 else 0
        panel.set_xticks(range(len(study.methods)), list(study.methods), rotation=steep, fontsize=8, parse_math=False)
        panel.tick_params(axis="y", labelsize=8)
    for panel in list(figure.axes)[len(panels) :]:
        panel.set_visible(False)
    figure.savefig(path, dpi=110)
    return True


def _shown(some: Measured) -> list[str]:
    return [name for name in some.metrics if name in (SEEN, UNSEEN)] or some.metrics[:1]
