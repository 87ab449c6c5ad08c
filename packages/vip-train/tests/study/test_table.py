"""The report of a study, against one written out by hand."""

import dataclasses
from pathlib import Path

from vip_train.config import TrainConfig
from vip_train.study.figures import Measured
from vip_train.study.file import Study
from vip_train.study.plan import Cell
from vip_train.study.table import markdown

STUDY = Study(
    config=None,
    base={},
    methods={"PT": {}, "VIP": {}},
    tasks={"cb": {}},
    seeds=(0, 1),
    axes={"vip.prompt_length": (3, 4)},
    baseline="PT",
)


def run(method: str, seed: int, score: float, codes: float = 0.0) -> Measured:
    cell = Cell("cb", method, ("3",), seed, Path("gone"), Path("log"), (), TrainConfig())
    results = {"validation_accuracy": score, "majority_accuracy": 0.5, "trained_parameters": 1234, "validation_nll": 1.0}
    results |= {
        "seconds": 10.4,
        "validation_code_perplexity": codes,
        "validation_codes_used": 0.5,
        "validation_input_bits": 0.25,
    }
    return Measured(cell, results | {"validation_label_bits": 0.125, "validation_label_bits_shuffled": 0.0625})


RUNS = [run("PT", 0, 0.25), run("PT", 1, 0.5), run("VIP", 0, 0.75, 7.0), run("VIP", 1, 0.875, 8.0)]


def sections(measured: list[Measured], study: Study = STUDY) -> dict[str, str]:
    head, *others = markdown("small", study, [one.cell for one in RUNS], measured, "vip-train study x.yaml").split("\n## ")
    return {"": head} | {name: text.strip() for name, _, text in (other.partition("\n\n") for other in others)}


def test_it_is_the_table_of_its_runs() -> None:
    found = sections(RUNS)
    assert "`vip-train study x.yaml`" in found[""]
    assert "4 of 4 runs are finished" in found[""]
    assert found["Scores"].splitlines() == [
        "| task | vip.prompt_length | metric | constant | PT | VIP |",
        "|---|---|---|---|---|---|",
        "| cb | 3 | accuracy | 0.500 | 0.375 ± 0.177 (0.250) ▼ | 0.812 ± 0.088 (0.750) |",
    ]
    assert found["Against PT"].splitlines() == [
        "| task | vip.prompt_length | metric | VIP |",
        "|---|---|---|---|",
        "| cb | 3 | accuracy | +0.438 (p 0.09), 2 pairs |",
        "| all |  |  | +0.438 (p 0.09), 2 pairs |",
    ]
    first, second = found["What is trained, and what its codes do"].splitlines()[2:]
    assert first == "| cb | 3 | PT | 1,234 | 1.000 | 10 |  |  |  |  |"
    assert second == "| cb | 3 | VIP | 1,234 | 1.000 | 10 | 7.5 | 50% | 0.25 | 0.125 (0.062) |"


def test_what_is_not_finished_is_left_open() -> None:
    found = sections(RUNS[:1])
    assert "1 of 4 runs are finished" in found[""]
    assert found["Scores"].splitlines()[2] == "| cb | 3 | accuracy | 0.500 | 0.250 ▼ |  |"
    assert found["Against PT"].splitlines()[2] == "| cb | 3 | accuracy |  |"


def test_rounding_is_not_below_the_constant_answer() -> None:
    """The mean of three times 0.3 is less than 0.3 by its last digit."""
    same = [
        Measured(one.cell._replace(seed=seed), {**one.results, "validation_accuracy": 0.3, "majority_accuracy": 0.3})
        for seed, one in enumerate([RUNS[0]] * 3)
    ]
    assert "▼" not in sections(same)["Scores"]


def test_without_a_baseline_there_is_less() -> None:
    assert "Against" not in " ".join(sections(RUNS, dataclasses.replace(STUDY, baseline=None)))


def test_the_test_split_is_reported_by_every_metric_and_over_what_was_seen() -> None:
    def tested(method: str, seed: int, seen: float, unseen: float) -> Measured:
        found = run(method, seed, 0.9)
        scores = {"seen": seen, "unseen": unseen, "accuracy/cb": seen, "accuracy/rte": unseen}
        results = found.results | {f"test_{name}": score for name, score in scores.items()}
        return Measured(found.cell, results | {f"test_constant_{name}": 0.25 for name in scores}, "test")

    measured = [tested("PT", 0, 0.5, 0.5), tested("PT", 1, 0.5, 0.25), tested("VIP", 0, 0.75, 0.5), tested("VIP", 1, 1.0, 0.75)]
    found = sections(measured, dataclasses.replace(STUDY, score="test"))
    assert "of the test split" in found[""]
    assert "chosen on the test split" in found[""]
    assert "| cb | 3 | unseen | 0.250 | 0.375 ± 0.177 (0.250) | 0.625 ± 0.177 (0.500) |" in found["Scores"]
    lines = found["Against PT"].splitlines()[2:]
    assert [line.split(" | ")[2] for line in lines[:4]] == ["seen", "unseen", "accuracy/cb", "accuracy/rte"]
    assert [line.split(" | ")[:4] for line in lines[4:]] == [
        ["| all", "", "seen", "+0.375 (p 0.2), 2 pairs |"],
        ["| all", "", "unseen", "+0.250 (p 0.5), 2 pairs |"],
    ]


def test_the_search_is_shown_with_what_was_chosen() -> None:
    tries = [
        one._replace(cell=one.cell._replace(tried=(f"rate={rate}",))) for one, rate in zip(RUNS, (1, 2, 1, 2), strict=True)
    ]
    text = markdown("small", STUDY, [one.cell for one in RUNS], RUNS, "x", tries).partition("## What was tried")[2]
    assert text.splitlines()[4:] == [
        "| cb | 3 | PT | rate=1: 0.250; **rate=2: 0.500** |",
        "| cb | 3 | VIP | rate=1: 0.750; **rate=2: 0.875** |",
    ]
