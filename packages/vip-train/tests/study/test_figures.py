"""Means, spreads and tests over the runs of a study."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from vip_train.config import TrainConfig
from vip_train.errors import UserError
from vip_train.study.figures import Measured, compare, groups, measure, rows, spread
from vip_train.study.plan import Cell


def cell(method: str, seed: int, task: str = "cb", axes: tuple[str, ...] = ()) -> Cell:
    return Cell(task, method, axes, seed, Path(f"{task}-{method}-{seed}"), Path("log"), (), TrainConfig())


def run(method: str, seed: int, score: float, **values: Any) -> Measured:
    results = {"validation_accuracy": score, "majority_accuracy": 0.5, "validation_f1": 0.1, "majority_f1": 0.2}
    return Measured(cell(method, seed, **values), results)


def test_metrics_are_those_that_have_a_constant_answer() -> None:
    assert run("PT", 0, 0.7).metrics == ["accuracy", "f1"]
    assert run("PT", 0, 0.7).score("accuracy") == 0.7
    assert run("PT", 0, 0.7).constant("f1") == 0.2


def test_a_spread_is_mean_sample_deviation_and_the_least() -> None:
    found = spread([1.0, 2.0, 6.0])
    assert found.mean == 3.0
    assert found.sd == pytest.approx(math.sqrt(7.0))
    assert found.least == 1.0
    assert math.isnan(spread([1.0]).sd)


def test_a_comparison_is_the_paired_t_test() -> None:
    """Differences 1, 2, 3 (as tenths): t = 2 / (1 / sqrt 3) = 3.4641, and with two degrees of freedom p = 0.0742."""
    ours = [run("VIP", seed, 0.5 + 0.1 * (seed + 1)) for seed in range(3)]
    theirs = [run("PT", seed, 0.5) for seed in range(3)]
    found = compare(ours, reversed(theirs))
    assert found.difference == pytest.approx(0.2)
    assert found.p == pytest.approx(0.0742, abs=1e-4)
    assert found.pairs == 3


def test_only_what_differs_in_the_method_alone_is_paired() -> None:
    ours = [run("VIP", 0, 0.9), run("VIP", 1, 0.2, axes=("3",)), run("VIP", 2, 0.7, task="rte")]
    theirs = [run("PT", 0, 0.5), run("PT", 1, 0.5), run("PT", 2, 0.5, task="rte")]
    found = compare(ours, theirs)
    assert (found.pairs, found.difference) == (2, pytest.approx(0.3))


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pairs_have_no_p(count: int) -> None:
    found = compare([run("VIP", seed, 0.6) for seed in range(count)], [run("PT", 0, 0.5)])
    assert math.isnan(found.p)
    assert found.pairs == count


def test_differences_all_alike_have_no_p() -> None:
    found = compare([run("VIP", seed, 0.6) for seed in range(3)], [run("PT", seed, 0.5) for seed in range(3)])
    assert math.isnan(found.p)
    assert found.difference == pytest.approx(0.1)


def test_groups_are_by_task_and_axes_then_by_method() -> None:
    measured = [run("PT", 0, 0.5), run("VIP", 0, 0.5), run("PT", 1, 0.5), run("PT", 0, 0.5, axes=("3",))]
    found = groups(measured)
    assert list(found) == [("cb", ()), ("cb", ("3",))]
    assert [one.cell.seed for one in found["cb", ()]["PT"]] == [0, 1]


def test_rows_have_all_numbers_of_a_run() -> None:
    (row,) = rows([run("PT", 4, 0.5, axes=("3",))._replace(results={"a": 1, "b": True, "c": "no", "d": [1.0]})], ["vip.x"])
    assert row == {"task": "cb", "method": "PT", "vip.x": "3", "seed": 4, "a": 1, "b": True}


RESULTS = {
    "data": "d",
    "backbone": "b",
    "trained_parameters": 1,
    "seconds": 1.0,
    "validation_nll": 1.0,
    "validation_code_perplexity": 0.0,
    "validation_codes_used": 0.0,
    "validation_accuracy": 1.0,
    "majority_accuracy": 0.5,
}


def put(folder: Path, method: str, content: str = json.dumps(RESULTS)) -> Cell:
    one = cell(method, 0)._replace(path=folder / method)
    one.path.mkdir(exist_ok=True)
    (one.path / "results.json").write_text(content, encoding="utf-8")
    return one


def test_results_are_read_where_they_are(tmp_path: Path) -> None:
    there = put(tmp_path, "PT")
    (found,) = measure([there, cell("VIP", 0)._replace(path=tmp_path / "VIP")])
    assert (found.cell, found.results) == (there, RESULTS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "cannot be read"),
        ("[]", "lacks data"),
        ("{}", "lacks data"),
        (json.dumps({**RESULTS, "majority_accuracy": 1})[:-1], "cannot"),
    ],
)
def test_damaged_results_are_named(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(UserError, match=rf"PT/results\.json: {reason}"):
        measure([put(tmp_path, "PT", content)])


def test_results_of_an_earlier_release_are_named(tmp_path: Path) -> None:
    content = {name: value for name, value in RESULTS.items() if name != "trained_parameters"}
    with pytest.raises(UserError, match="lacks trained_parameters; remove the run's folder"):
        measure([put(tmp_path, "PT", json.dumps(content))])


def test_runs_on_other_data_are_not_compared(tmp_path: Path) -> None:
    ours = put(tmp_path, "VIP", json.dumps({**RESULTS, "data": "e"}))
    with pytest.raises(UserError, match=r"VIP: has other data than .*PT; remove what is out of date"):
        measure([put(tmp_path, "PT"), ours])


def test_runs_are_not_compared_if_their_search_had_other_data(tmp_path: Path) -> None:
    searched = run("PT", 9, 0.5)._replace(results={**RESULTS, "data": "e"})
    with pytest.raises(UserError, match="has other data than"):
        measure([put(tmp_path, "PT")], others=[searched])
    assert len(measure([put(tmp_path, "PT")], others=[searched._replace(results=RESULTS)])) == 1


def test_methods_may_have_backbones_of_their_own_but_not_seeds(tmp_path: Path) -> None:
    ours = put(tmp_path, "VIP", json.dumps({**RESULTS, "backbone": "c"}))
    assert len(measure([put(tmp_path, "PT"), ours])) == 2
    with pytest.raises(UserError, match="has other backbone than"):
        measure([put(tmp_path, "PT"), ours._replace(method="PT", seed=1)])
