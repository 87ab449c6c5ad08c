"""What is said of the data before training."""

import pytest
from vip_train import report
from vip_train.backbones import Backbone
from vip_train.scoring import Scoring
from vip_train.tasks import Example
from vip_train.tasks.own import Skipped
from vip_train.tokenised import TokenisedSplit


def said(backbone: Backbone, targets: list[str], scoring: Scoring, skipped: Skipped | None = None) -> list[str]:
    examples = [Example("ba " * (number + 1), target, "") for number, target in enumerate(targets)]
    return report.data(TokenisedSplit(examples, backbone.tokenizer, 6), scoring, skipped).splitlines()


def test_each_answer_has_its_count_and_share(backbone: Backbone) -> None:
    lines = said(backbone, ["no", "maybe", "no", "no"], Scoring.among(("yes", "no", "maybe")))
    assert lines[:3] == ["  no     3 (75.0%)", "  maybe  1 (25.0%)", "  yes    0 (0.0%)"]
    assert len(lines) == 5


def test_of_many_answers_the_rare_ones_are_added_up(backbone: Backbone) -> None:
    answers = [f"answer {number}" for number in range(30)]
    lines = said(backbone, answers + answers[20:], Scoring.among(answers))
    assert len(lines) == 12 + 2
    assert lines[0] == "  answer 20  2 (5.0%)"
    assert lines[11] == "  19 others  19 (47.5%)"


def test_lengths_are_those_before_the_cut(backbone: Backbone) -> None:
    lines = said(backbone, ["ba"] * 20, Scoring.among(()))
    lengths = sorted(len(backbone.tokenizer("ba " * (number + 1))["input_ids"]) for number in range(20))
    cut = sum(length > 6 for length in lengths)
    assert lines[0] == f"source tokens: median {lengths[9]}, 95% at most {lengths[18]}, longest {lengths[19]}, {cut} cut"
    assert cut > 0
    assert lines[1].startswith("target tokens: median ")
    assert len(lines) == 2, "free text has no balance"


@pytest.mark.parametrize("reasons", [(), ("a.csv:2: is bad", "a.csv:3: is bad")])
def test_skipped_rows_are_counted_and_some_told(reasons: tuple[str, ...], backbone: Backbone) -> None:
    lines = said(backbone, ["ba"], Scoring.among(()), Skipped(7, reasons))
    assert lines[2:] == ["7 bad rows skipped", *(f"  {reason}" for reason in reasons)]
