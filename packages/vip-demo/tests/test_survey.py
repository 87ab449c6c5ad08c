"""A data set seen through an adapter, against the same one text at a time."""

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from vip_demo import inspect, survey
from vip_demo.survey import MOST_TEXTS, Survey, as_csv, main_of, table, takers, texts_by, uses
from vip_train import TASKS, Adapter, Backbone, UserError, load_adapter
from vip_train.tasks import Example


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return TASKS["notes"].load("validation", None)[:40]


@pytest.fixture(scope="module")
def found(adapter: Adapter, examples: list[Example]) -> Survey:
    return survey(adapter, examples)


def test_every_text_is_seen_as_alone(adapter: Adapter, examples: list[Example], found: Survey) -> None:
    for row in (0, 17, 39):
        alone = inspect(adapter, [examples[row].source])[0]
        assert found.answers[row] == alone.answer
        torch.testing.assert_close(found.share_NK[row], alone.share_K, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.share_K, found.share_NK.mean(0))
    right = [answer == example.target for answer, example in zip(found.answers, examples, strict=True)]
    assert found.accuracy == pytest.approx(sum(right) / 40)
    assert 1 < found.selection.code_perplexity <= 60


def test_shares_by_label_and_domain_are_counted(examples: list[Example], found: Survey) -> None:
    used = uses(found)
    assert [use.share for use in used] == sorted((use.share for use in used), reverse=True)
    assert {use.code for use in used} == set(range(60))
    for use in used[:3]:
        for share, fact in ((use.by_label, "target"), (use.by_group, "group")):
            assert sum(share.values()) == pytest.approx(1.0)
            for name, value in share.items():
                others = set(share) if name == "others" else set()  # of 24 answers the 11 most frequent have a name
                rows = [
                    row
                    for row, example in enumerate(examples)
                    if getattr(example, fact) == name or (others and getattr(example, fact) not in others)
                ]
                expected = found.share_NK[rows, use.code].sum() / found.share_NK[:, use.code].sum()
                assert value == pytest.approx(float(expected), rel=1e-4)
    assert main_of({"a": 0.2, "b": 0.8}) == "b"
    assert main_of({}) == ""


def test_takers_come_by_falling_share(found: Survey) -> None:
    code = uses(found)[0].code
    taken = takers(found, code, most=5)
    assert len({taker.example.source for taker in taken}) == 5
    expected = {example.source: float(share) for example, share in zip(found.examples, found.share_NK[:, code], strict=True)}
    assert [taker.share for taker in taken] == pytest.approx(sorted(expected.values(), reverse=True)[:5])
    assert taken[0].example == found.examples[int(found.share_NK[:, code].argmax())]


def test_progress_is_told(adapter: Adapter, examples: list[Example]) -> None:
    told: list[tuple[int, int]] = []
    survey(adapter, examples, progress=lambda done, all_: told.append((done, all_)))
    assert told == [(32, 40), (40, 40)]


def test_what_cannot_be_read_is_passed_over_and_named(adapter: Adapter, examples: list[Example]) -> None:
    found = survey(adapter, [examples[0], Example("dog " * 70, "", ""), Example("", "", ""), examples[1]])
    assert found.examples == (examples[0], examples[1])
    assert found.skipped[0].startswith("Text 2: The text has 71 tokens")
    assert found.skipped[1].startswith("Text 3: There is no text yet")
    with pytest.raises(UserError, match=r"no text to look at\. Text 1: There is no text yet"):
        survey(adapter, [Example(" ", "", "")])
    with pytest.raises(UserError, match="The data set is empty"):
        survey(adapter, [])


def test_too_many_texts_are_refused_before_any_is_read(adapter: Adapter) -> None:
    with pytest.raises(UserError, match="has 2,001 texts, at most 2,000"):
        survey(adapter, [Example("dog", "", "")] * (MOST_TEXTS + 1))


def test_without_right_answers_there_is_no_accuracy(adapter: Adapter) -> None:
    found = survey(adapter, [Example("red dog", "", ""), Example("a white cloth", "", "")])
    assert found.accuracy is None
    assert uses(found)[0].by_label == uses(found)[0].by_group == {}


def test_what_codes_tell_is_asked_only_where_it_can_be(adapter: Adapter) -> None:
    def bits(label: str, domain: str) -> tuple[bool, bool]:
        rows = [Example("red dog", label.format(number), domain.format(number)) for number in range(60)]
        found = survey(adapter, rows)
        return found.knows("target"), found.knows("group")

    assert bits("yes", "x") == (True, True)
    assert bits("answer {}", "") == (False, False), "free text, and no domain"
    partly = survey(adapter, [Example("red dog", "yes", "x"), Example("red dog", "", "x")])
    assert (partly.knows("target"), partly.knows("group")) == (False, True)


def test_rare_labels_are_one_in_all_shares(adapter: Adapter) -> None:
    found = survey(adapter, [Example("red dog", f"answer {number}", "x") for number in range(20)])
    assert (
        texts_by(found, "target")
        == uses(found)[0].by_label
        == pytest.approx({**{f"answer {number}": 0.05 for number in range(11)}, "others": 0.45}, rel=1e-5)
    )
    long = survey(adapter, [Example("red dog", "y" * 100, "")])
    assert table(long)[0][2] == "label: " + "y" * 59 + "…"


def test_tokens_of_all_texts_together_are_limited(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["vip_demo.survey"], "MOST_TOKENS", 5)
    survey(adapter, [Example("red dog", "", "")])
    with pytest.raises(UserError, match="has 6 tokens, at most 5"):
        survey(adapter, [Example("red dog", "", "")] * 2)


def test_the_table_says_the_same_as_the_uses(found: Survey) -> None:
    header, rows = table(found)
    assert header[:2] == ["code", "share"]
    assert sum(name.startswith("label: ") for name in header) == 12
    assert "label: others" in header
    assert [row[0] for row in rows] == [use.code for use in uses(found)]
    read = list(csv.reader(io.StringIO(as_csv(found))))
    assert read[0] == header
    assert read[1:] == [[str(value) for value in row] for row in rows]


@pytest.mark.parametrize("method", ["pt", "vip-c"])
def test_without_a_codebook_there_are_answers_and_no_codes(
    make_adapter: Callable[..., Path], backbone: Backbone, examples: list[Example], method: str
) -> None:
    found = survey(load_adapter(make_adapter(method), backbone=backbone), examples)
    assert len(found.answers) == 40
    assert found.share_NK.shape == (40, 0)
    assert (uses(found), found.dead) == ([], ())


def test_dead_codes_are_those_that_nobody_takes(adapter: Adapter) -> None:
    found = survey(adapter, [Example("red dog", "", "")], "argmax")
    alive = inspect(adapter, ["red dog"], "argmax")[0].code_U
    assert set(found.dead) == set(range(60)) - set(alive)
