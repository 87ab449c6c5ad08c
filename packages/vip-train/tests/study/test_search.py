"""Which candidates a study tries, which is chosen, and that what is compared has it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vip_train.config import TrainConfig
from vip_train.errors import UserError
from vip_train.study.figures import Measured
from vip_train.study.file import read_study
from vip_train.study.plan import Cell, plan, plan_search
from vip_train.study.search import choose, trials

Write = Callable[..., Path]
RATE, LAYERS = "optimizer.prompt_learning_rate", "vip.contextualizer.layers"
METHODS: dict[str, Any] = {
    "PT": {"vip.method": "pt", RATE: [0.1, 0.3]},
    "VIP": {RATE: [0.01, 0.03], LAYERS: [1, 2]},
    "fixed": {"vip.method": "vip-q"},
}


def test_every_choice_of_values_is_tried_on_every_task(write: Write) -> None:
    found = plan_search(read_study(write(methods=METHODS, tasks=["forms", "notes"], search_seeds=[7, 8])), Path("out"))
    assert len(found) == 2 * 2 * (2 + 4)
    own = [cell for cell in found if (cell.task, cell.method, cell.seed) == ("notes", "VIP", 8)]
    assert [(cell.config.optimizer.prompt_learning_rate, cell.config.vip.contextualizer.layers) for cell in own] == [
        *((0.01, 1), (0.01, 2), (0.03, 1), (0.03, 2)),
    ]
    assert own[1].tried == (f"{RATE}=0.01", f"{LAYERS}=2")
    assert own[1].path == Path(f"out/search/notes/VIP/{RATE}=0.01/{LAYERS}=2/seed-8")
    assert own[1].log == Path(f"out/logs/search/notes/VIP/{RATE}=0.01/{LAYERS}=2/seed-8.log")


def test_a_study_without_candidates_has_no_search(write: Write) -> None:
    study = read_study(write())
    assert plan_search(study, Path("out")) == []
    assert plan(study, Path("out"), chosen={}) == plan(study, Path("out"))


def tried(method: str, values: tuple[str, ...], seed: int, score: float, nll: float = 1.0, task: str = "forms") -> Measured:
    cell = Cell(task, method, (), seed, Path("gone"), Path("log"), (), TrainConfig(), values)
    return Measured(cell, {"validation_accuracy": score, "majority_accuracy": 0.5, "validation_nll": nll})


def test_the_best_mean_is_chosen_for_each_task_by_itself(write: Write) -> None:
    study = read_study(write(methods=METHODS, tasks=["forms", "notes"], search_seeds=[7, 8]))
    low, high = (f"{RATE}=0.1",), (f"{RATE}=0.3",)
    found = [
        *(tried("PT", low, 7, 0.5), tried("PT", high, 7, 0.9), tried("PT", low, 8, 0.8), tried("PT", high, 8, 0.3)),
        *(tried("PT", low, 7, 0.1, task="notes"), tried("PT", high, 7, 0.2, task="notes")),
    ]
    assert [round(one.score, 9) for one in trials(found)["forms", (), "PT"]] == [0.65, 0.6]
    assert choose(study, found) == {("forms", (), "PT"): {RATE: "0.1"}, ("notes", (), "PT"): {RATE: "0.3"}}


def test_of_equal_scores_the_lower_loss_decides_and_then_the_order(write: Write) -> None:
    study = read_study(write(methods=METHODS, search_seeds=[7]))
    low, high = (f"{RATE}=0.1",), (f"{RATE}=0.3",)
    for first, second, wanted in ((1.0, 0.9, "0.3"), (0.9, 1.0, "0.1"), (1.0, 1.0, "0.1")):
        found = [tried("PT", low, 7, 0.5, first), tried("PT", high, 7, 0.5, second)]
        assert choose(study, found)["forms", (), "PT"] == {RATE: wanted}


def test_what_is_compared_has_what_was_chosen(write: Write) -> None:
    study = read_study(write(methods=METHODS, tasks=["forms"], seeds=[0], search_seeds=[7]))
    chosen = {("forms", (), "PT"): {RATE: "0.3"}, ("forms", (), "VIP"): {RATE: "0.03", LAYERS: "2"}}
    rates = {cell.method: cell.config.optimizer.prompt_learning_rate for cell in plan(study, Path("out"), chosen=chosen)}
    assert rates == {"PT": 0.3, "VIP": 0.03, "fixed": TrainConfig().optimizer.prompt_learning_rate}


def test_a_candidate_that_failed_is_out(write: Write) -> None:
    study = read_study(write(methods={"PT": {RATE: [0.1, 0.3, 1.0]}}, search_seeds=[7], baseline=None))
    found = [tried("PT", (f"{RATE}=0.3",), 7, 0.5), tried("PT", (f"{RATE}=1.0",), 7, 0.9)]
    assert choose(study, found) == {("forms", (), "PT"): {RATE: "1.0"}}


def test_what_is_chosen_among_sees_no_test_row(write: Write) -> None:
    task = {"CB": {"task": "superglue/cb", "test_task": "suite/mood"}}
    study = read_study(write(methods=METHODS, tasks=task, search_seeds=[7], score="test"))
    assert {cell.config.test_task for cell in plan_search(study, Path("out"))} == {""}
    assert {cell.config.test_task for cell in plan(study, Path("out"))} == {"suite/mood"}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"methods": METHODS}, "search_seeds must be given if a method has several values for a setting, and only then"),
        ({"search_seeds": [7]}, "search_seeds must be given if a method has several values for a setting, and only then"),
        ({"methods": METHODS, "search_seeds": [1]}, "search_seeds=[1] must not be among seeds, as 1 is"),
        (
            {"methods": {"PT": {RATE: ["0.1"]}}, "search_seeds": [7]},
            f"methods.PT.{RATE}=['0.1'] must be several values, or one without brackets",
        ),
        (
            {"methods": {"PT": {RATE: ["0.1", "0.1"]}}, "search_seeds": [7]},
            f"methods.PT.{RATE}=['0.1', '0.1'] must be different",
        ),
        ({"score": "train"}, "score=train must be one of validation, test"),
    ],
)
def test_what_is_wrong_is_named(write: Write, values: dict[str, Any], reason: str) -> None:
    path = write(**{"baseline": None} | values)
    with pytest.raises(UserError) as caught:
        read_study(path)
    assert str(caught.value) == f"{path}: {reason}"


def test_a_candidate_that_is_refused_is_named(write: Write) -> None:
    path = write(methods={"PT": {RATE: [0.1, -3]}}, search_seeds=[7], baseline=None)
    with pytest.raises(UserError, match=r"superglue/cb, PT, optimizer.prompt_learning_rate=-3: "):
        plan_search(read_study(path), Path("out"), path=path)


def test_reporting_the_test_split_needs_one(write: Write) -> None:
    path = write(score="test")
    with pytest.raises(UserError, match="superglue/cb, PT: score=test needs a test_task"):
        plan(read_study(path), Path("out"), path=path)
