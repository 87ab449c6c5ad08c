"""A study in Markdown: scores, what sets methods apart, and what their prompts do."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vip_train.final_test import SEEN, UNSEEN
from vip_train.runs import ENVIRONMENT_FILE
from vip_train.study.figures import Comparison, Measured, compare, groups, spread
from vip_train.study.file import Study
from vip_train.study.plan import Cell
from vip_train.study.search import best, trials

BELOW = "▼"
_ROUNDING = 1e-9
"""A mean of seeds that all reach the constant answer's score may be less by its last digits."""

_LEGEND = f"""Scores are of the {{split}} split, as shares of 1: mean ± sample standard deviation over seeds (the least).
*constant* is the best constant answer, chosen on the {{chosen}} split. {BELOW} marks a mean below it: nothing was learned that
such an answer does not know. *p* is of the paired t test over runs that differ in the method alone, two-sided and not corrected
for the number of comparisons; the line *all* takes each task and seed as a pair, though tasks differ in how scores spread."""


def markdown(
    title: str,
    study: Study,
    cells: Sequence[Cell],
    measured: Sequence[Measured],
    command: str,
    search: Sequence[Measured] = (),
) -> str:
    """The whole report.

    Args:
        title: of the study.
        study: what was asked for.
        cells: all there should be.
        measured: those that are finished, at least one.
        command: by which it is made again.
        search: the runs among which candidates were chosen.
    """
    legend = _LEGEND.format(split=study.score, chosen={"validation": "training", "test": "test"}[study.score])
    parts = [f"# {title}", _origin(cells, measured, command), legend, "## Scores", _scores(study, measured)]
    if study.baseline is not None and len(study.methods) > 1:
        parts += [f"## Against {study.baseline}", _comparisons(study, measured, study.baseline)]
    parts += ["## What is trained, and what its codes do", _prompts(study, measured)]
    if search:
        parts += ["## What was tried on the validation split", _search(study, search)]
    return "\n\n".join(parts) + "\n"


def _origin(cells: Sequence[Cell], measured: Sequence[Measured], command: str) -> str:
    lines = [f"`{command}`", "", f"{len(measured)} of {len(cells)} runs are finished."]
    if found := _environment(measured[0].cell.path / ENVIRONMENT_FILE):
        packages = ", ".join(f"{name} {found['packages'][name]}" for name in ("vip-train", "torch", "transformers"))
        lines[-1] += f" First of them: {found['device']}, {found['threads']} threads; Python {found['python']}, {packages}."
    return "\n".join(lines)


def _environment(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))[-1]
    except (OSError, ValueError, IndexError):
        return {}  # it only informs
    return found


def _scores(study: Study, measured: Sequence[Measured]) -> str:
    lines = []
    for (task, axes), by_method in groups(measured).items():
        some = next(iter(by_method.values()))[0]
        for metric in some.metrics:
            constant = some.constant(metric)
            found = [_score(by_method.get(method, []), metric, constant) for method in study.methods]
            lines.append([task, *axes, metric, f"{constant:.3f}", *found])
    return _table(["task", *study.axes, "metric", "constant", *study.methods], lines)


def _score(own: Sequence[Measured], metric: str, constant: float) -> str:
    if not own:
        return ""
    found = spread([one.score(metric) for one in own])
    text = f"{found.mean:.3f}" + ("" if math.isnan(found.sd) else f" ± {found.sd:.3f} ({found.least:.3f})")
    return text + (f" {BELOW}" if found.mean < constant - _ROUNDING else "")


def _comparisons(study: Study, measured: Sequence[Measured], baseline: str) -> str:
    others = [method for method in study.methods if method != baseline]
    lines = []
    for (task, axes), by_method in groups(measured).items():
        some = next(iter(by_method.values()))[0]
        for metric in some.metrics if study.score == "test" else some.metrics[:1]:
            theirs = by_method.get(baseline, [])
            found = [_difference(compare(by_method.get(method, []), theirs, metric)) for method in others]
            lines.append([task, *axes, metric, *found])
    of = {method: [one for one in measured if one.cell.method == method] for method in study.methods}
    for name in (SEEN, UNSEEN) if study.score == "test" else ("",):
        totals = [_difference(compare(of[method], of[baseline], name)) for method in others]
        if any(totals):  # nothing unseen may have been tested
            lines.append(["all", *("" for _ in study.axes), name, *totals])
    return _table(["task", *study.axes, "metric", *others], lines)


def _search(study: Study, search: Sequence[Measured]) -> str:
    lines = []
    for (task, axes, method), tried in trials(search).items():
        found = {trial: f"{', '.join(trial.tried)}: {trial.score:.3f}" for trial in tried}
        found[best(tried)] = f"**{found[best(tried)]}**"
        lines.append([task, *axes, method, "; ".join(found.values())])
    return _table(["task", *study.axes, "method", "mean first score of each, the chosen one in bold"], lines)


def _difference(found: Comparison) -> str:
    if not found.pairs:
        return ""
    return f"{found.difference:+.3f}" + ("" if math.isnan(found.p) else f" (p {found.p:.2g})") + f", {found.pairs} pairs"


def _prompts(study: Study, measured: Sequence[Measured]) -> str:
    lines = []
    for (task, axes), by_method in groups(measured).items():
        for method, own in by_method.items():

            def mean(name: str, own: Sequence[Measured] = own) -> float:
                return spread([float(one.results[name]) for one in own]).mean

            codes = [""] * 4
            if mean("validation_code_perplexity"):
                codes = [f"{mean('validation_code_perplexity'):.1f}", f"{mean('validation_codes_used'):.0%}"]
                codes += [f"{mean('validation_input_bits'):.2f}"]
                codes += [f"{mean('validation_label_bits'):.3f} ({mean('validation_label_bits_shuffled'):.3f})"]
            counts = [f"{mean('trained_parameters'):,.0f}", f"{mean('validation_nll'):.3f}", f"{mean('seconds'):.0f}"]
            lines.append([task, *axes, method, *counts, *codes])
    codes = ["code perplexity", "codes used", "bits on input", "bits on label (shuffled)"]
    return _table(["task", *study.axes, "method", "trained parameters", "validation loss", "seconds", *codes], lines)


def _table(names: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    def row(values: Sequence[str]) -> str:
        return "| " + " | ".join(value.replace("|", "\\|") for value in values) + " |"

    return "\n".join([row(names), "|" + "---|" * len(names), *map(row, lines)])
