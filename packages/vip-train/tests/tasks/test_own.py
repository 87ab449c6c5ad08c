"""A user's own table as a task: what a row becomes, what is bad about it, and what is held out."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vip_train.errors import UserError
from vip_train.scoring import Scoring
from vip_train.tasks import Example
from vip_train.tasks.own import OwnTask

Put = Callable[..., Path]


def numbered(count: int, **values: Any) -> list[dict[str, Any]]:
    return [{"source": f"text {number}", "target": "yes"} | values for number in range(count)]


@pytest.fixture
def own(put: Put) -> Callable[..., OwnTask]:
    """A task of these training rows, with a validation file of its own so that nothing is held out."""

    def task(rows: list[Any] | str, name: str = "a.jsonl", **values: Any) -> OwnTask:
        names = [values.get("source_column", "source"), values.get("target_column", "target"), "id"]
        texts = ["held out", *values.get("labels", ["yes"])[:1]]
        held = put("held.jsonl", [dict(zip(names, [*texts, number], strict=True)) for number in range(2)])
        return OwnTask(**{"train_file": put(name, rows), "validation_file": held} | values)

    return task


Own = Callable[..., OwnTask]


def refusal(task: OwnTask) -> str:
    with pytest.raises(UserError) as caught:
        task.load("train", None)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value).removeprefix(f"{task.train_file}")


def test_a_row_becomes_an_example_without_white_space_around_it(own: Own) -> None:
    task = own("id\tt\ts\n1\t yes \t a\u00a0b \r\n", "a.tsv", source_column="s", target_column="t", id_column="id")
    assert list(task.load("train", None)) == [Example("a\u00a0b", "yes", "")]
    assert (task.name, task.answers, task.metrics, task.weights) == ("", {}, ("f1", "exact_match"), {"": 1.0})
    assert task.skipped == (0, ())


def test_labels_are_the_fixed_answers(own: Own) -> None:
    task = own(numbered(3), labels=("yes", "no"))
    assert (task.answers, task.metrics) == ({"yes": "yes", "no": "no"}, ("accuracy", "macro_f1"))
    assert Scoring.of(task).choices(task.load("train", None)[0]) == ("yes", "no")
    assert Scoring.of(task).first == "accuracy"


@pytest.mark.parametrize(("value", "label"), [(True, "true"), (1, "1"), (-2.5, "-2.5"), (" 1 ", "1")])
def test_labels_of_json_may_be_numbers_and_booleans(value: object, label: str, own: Own) -> None:
    task = own(numbered(1, target=value), labels=("true", "1", "-2.5"))
    assert task.load("train", None)[0].target == label


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"target": "mayb"}, "column 'target': 'mayb' is unknown, allowed are 'yes', 'no'"),
        ({"target": "m" * 10**6}, "column 'target': 'mmmmmmmmmmmmmmmmmmmmmmmmmmm...mmm"),
        ({"target": None}, "column 'target': is None, a text was expected"),
        ({"target": [1]}, "column 'target': is [1], a text was expected"),
        ({"target": "  "}, "column 'target': is empty"),
        ({"source": ""}, "column 'source': is empty"),
        ({"source": "\u2028\t"}, "column 'source': is empty"),
        ({"source": 3}, "column 'source': is 3, a text was expected"),
        ({"source": True}, "column 'source': is True, a text was expected"),
        ({"id": 1}, "column 'id': '1' was there before, in line 1"),
        ({"id": "1"}, "column 'id': '1' was there before, in line 1"),
        ({"id": ""}, "column 'id': is empty"),
        ({"id": {}}, "column 'id': is {}, a text was expected"),
    ],
)
def test_a_bad_row_is_named_by_line_and_column_or_skipped_and_counted(values: dict[str, Any], said: str, own: Own) -> None:
    rows = [row | {"id": number} for number, row in enumerate(numbered(4), start=1)]
    rows[2] |= values
    chosen = {"id_column": "id", "labels": ("yes", "no")}
    assert refusal(own(rows, **chosen)).startswith(f":3: {said}")
    task = own(rows, **chosen, skip_bad_rows=True)
    assert [example.source for example in task.load("train", None)] == ["text 0", "text 1", "text 3"]
    assert task.skipped.rows == 1
    assert task.skipped.reasons[0].startswith(f"{task.train_file}:3: {said}")


def test_free_text_is_text(own: Own) -> None:
    assert refusal(own(numbered(1, target=1))) == ":1: column 'target': is 1, a text was expected"


def test_the_first_reasons_of_both_files_are_kept_and_all_are_counted(own: Own, put: Put) -> None:
    held = put("bad.jsonl", [*numbered(1), "text"])
    task = own([{}, *numbered(1), [], "x", 7], validation_file=held, skip_bad_rows=True)
    assert len(task.load("validation", None)) == 1
    assert task.skipped.rows == 5
    assert [reason.partition(": ")[0] for reason in task.skipped.reasons] == [f"{task.train_file}:{line}" for line in (1, 3, 4)]


def test_ids_may_come_again_in_the_other_file(own: Own, put: Put) -> None:
    held = put("same.jsonl", numbered(1, id=1))
    assert len(own(numbered(1, id=1), validation_file=held, id_column="id").load("validation", None)) == 1


def test_gzip_that_breaks_off_is_no_row_to_be_skipped(own: Own) -> None:
    task = own(numbered(2000), "a.jsonl.gz", skip_bad_rows=True)
    task.train_file.write_bytes(task.train_file.read_bytes()[:-20])
    assert refusal(task).startswith(": cannot be unpacked after line ")


@pytest.mark.parametrize(("name", "content"), [("a.jsonl", ""), ("a.csv", "source,target\r\n"), ("a.jsonl", "\n\n")])
def test_a_file_without_rows_is_named(name: str, content: str, own: Own) -> None:
    assert refusal(own(content, name)) == ": has no rows"


def test_a_file_of_bad_rows_alone_says_how_many_and_why(own: Own) -> None:
    said = refusal(own([{"text": "a"}] * 7, skip_bad_rows=True))
    assert said.startswith(": has no rows but 7 bad ones, such as ")
    assert said.endswith(":7: column 'source' is missing, found 'text'")


# --- held out ---


def test_a_tenth_is_held_out_by_the_source_and_the_same_each_time(put: Put) -> None:
    path = put("a.jsonl", numbered(1000) + numbered(1000, target="no"))
    splits = [{name: list(OwnTask(train_file=path).load(name, None)) for name in ("train", "validation")} for _ in range(2)]  # type: ignore[arg-type]
    assert splits[0] == splits[1]
    train, held = ({one.source for one in splits[0][name]} for name in ("train", "validation"))
    assert not train & held, "equal sources are on one side"
    assert len(train | held) == 1000
    assert 70 < len(held) < 130


def test_both_splits_are_read_in_one_pass(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    task = OwnTask(train_file=put("a.jsonl", numbered(100)))
    task.load("train", None)
    task.train_file.unlink()
    assert len(task.load("validation", None)) > 0


def test_a_split_that_nothing_is_left_for_is_named(put: Put) -> None:
    path = put("a.jsonl", numbered(1))
    with pytest.raises(UserError) as caught:
        OwnTask(train_file=path).load("train", None)
    assert str(caught.value).startswith(f"{path}: has no rows for validation when a tenth is held out")
    assert "validation_file" in str(caught.value)


def test_every_reason_is_one_line_even_with_odd_values(put: Put) -> None:
    path = put("a.jsonl.gz", [{"source": "a\nb", "target": "no\r\nline"}])
    assert gzip.decompress(path.read_bytes()) == json.dumps({"source": "a\nb", "target": "no\r\nline"}).encode() + b"\n"
    assert refusal(OwnTask(train_file=path, labels=("a", "b"))).startswith(":1: column 'target': 'no\\r\\nline' is unknown")
