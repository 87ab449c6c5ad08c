"""Reading rows from files, from the hub (by a stand-in) and from a generator; every broken row is named by its place."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets.exceptions import DatasetGenerationError
from vip_train.errors import UserError
from vip_train.tasks import Example, TextTask
from vip_train.tasks.task import HubSource, Row, Split, read_jsonl

TASK = TextTask(
    name="colours",
    template="{thing} is {how}?",
    answers={"red": "warm", "blue": "cold", "true": "yes"},
    folder="Colours",
    hub=HubSource("someone/colours", "plain", "refs/convert/parquet", ("red", "blue")),
    group_field="room",
)
ROW = {"thing": "snow", "how": "what", "label": "blue"}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the training file of a folder in the official layout and returns its path."""

    def lines(*rows: object, raw: bytes | None = None, name: str = "train") -> Path:
        path = tmp_path / "Colours" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes("".join(json.dumps(row) + "\n" for row in rows).encode() if raw is None else raw)
        return path

    return lines


def refusal(folder: Path, task: TextTask = TASK, split: Split = "train") -> str:
    """The one line that says why the rows cannot be had."""
    with pytest.raises(UserError) as caught:
        task.load(split, folder)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# --- a row as text ---


def test_rows_become_text_in_order(write: Write, tmp_path: Path) -> None:
    write(ROW, {"thing": " {fire} \n", "how": "it", "label": "red", "room": "hall", "extra": [1]})
    assert TASK.load("train", tmp_path) == [Example("snow is what?", "cold", ""), Example("{fire} is it?", "warm", "hall")]


def test_the_fields_are_those_of_the_template() -> None:
    assert TASK.fields == ("thing", "how")


def test_each_split_has_its_official_file(write: Write, tmp_path: Path) -> None:
    write(ROW, name="train")
    write({**ROW, "label": "red"}, name="val")
    assert [example.target for example in TASK.load("train", tmp_path)] == ["cold"]
    assert [example.target for example in TASK.load("validation", tmp_path)] == ["warm"]


def test_a_label_may_be_a_boolean(write: Write, tmp_path: Path) -> None:
    write({**ROW, "label": True})
    assert TASK.load("train", tmp_path)[0].target == "yes"


@pytest.mark.parametrize("field", ["thing", "how", "label"])
def test_a_missing_field_is_named_by_its_line(field: str, write: Write, tmp_path: Path) -> None:
    path = write(ROW, {name: value for name, value in ROW.items() if name != field})
    assert refusal(tmp_path).startswith(f"{path}:2: field '{field}' is missing")


@pytest.mark.parametrize("value", [3, None, ["snow"], {"a": 1}, True])
def test_a_field_of_another_type_is_named_by_its_line(value: object, write: Write, tmp_path: Path) -> None:
    path = write(ROW, ROW, {**ROW, "thing": value})
    message = refusal(tmp_path)
    assert message.startswith(f"{path}:3: field 'thing' is {type(value).__name__}")


@pytest.mark.parametrize("value", ["green", "Blue", "", 1, None, False, ["blue"]])
def test_an_unknown_label_is_named_with_those_allowed(value: object, write: Write, tmp_path: Path) -> None:
    path = write({**ROW, "label": value})
    message = refusal(tmp_path)
    assert message.startswith(f"{path}:1: label ")
    assert "'red', 'blue', 'true'" in message


def test_a_label_of_several_lines_stays_one_line(write: Write, tmp_path: Path) -> None:
    write({**ROW, "label": "red\nblue"})
    refusal(tmp_path)


# --- files ---


# --- free text ---

WRITTEN = dataclasses.replace(TASK, answers={})


def test_without_answers_a_label_is_the_text_to_write(write: Write, tmp_path: Path) -> None:
    write(ROW | {"label": " warm and soft "})
    assert WRITTEN.load("train", tmp_path) == [Example("snow is what?", "warm and soft", "")]


@pytest.mark.parametrize("value", ["", " ", 3, None, True])
def test_what_is_no_text_to_write_is_named_by_its_line(value: object, write: Write, tmp_path: Path) -> None:
    path = write(ROW, ROW | {"label": value})
    assert refusal(tmp_path, WRITTEN) == f"{path}:2: field 'label' is {value!r}, a text was expected"


def test_blank_lines_are_passed_over_but_counted(write: Write, tmp_path: Path) -> None:
    path = write(raw=b'\n{"a": 1}\n  \n{"a": 2}')
    assert list(read_jsonl(path)) == [(f"{path}:2", {"a": 1}), (f"{path}:4", {"a": 2})]


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_byte_order_marks_and_line_ends_of_windows_are_accepted(start: bytes, end: bytes, write: Write, tmp_path: Path) -> None:
    line = json.dumps({**ROW, "thing": "Schneefälle"}, ensure_ascii=False).encode()
    write(raw=start + line + end + line + end)
    assert TASK.load("train", tmp_path) == [Example("Schneefälle is what?", "cold", "")] * 2


def test_separators_inside_a_string_do_not_end_a_line(write: Write) -> None:
    path = write(raw='{"a": "one\u2028two\u0085three"}\n{"a": 2}\n'.encode())
    assert [place for place, _ in read_jsonl(path)] == [f"{path}:1", f"{path}:2"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path / 'Colours' / 'train.jsonl'}: no such file")


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "Colours" / "train.jsonl"
    path.mkdir(parents=True)
    assert refusal(tmp_path).startswith(f"{path}: ")


def test_a_file_that_is_not_utf8_is_named(write: Write, tmp_path: Path) -> None:
    path = write(raw='{"thing": "fa\u00e7ade"}\n'.encode("latin-1"))
    assert refusal(tmp_path).startswith(f"{path}: ")


@pytest.mark.parametrize("line", [b'{"thing": "snow', b"{}{}", b"snow", b'{"thing": 1e}', b"{'thing': 'snow'}"])
def test_a_broken_line_is_named_by_its_number(line: bytes, write: Write, tmp_path: Path) -> None:
    path = write(raw=json.dumps(ROW).encode() + b"\n\n" + line + b"\n")
    assert refusal(tmp_path).startswith(f"{path}:3: is not JSON: ")


@pytest.mark.parametrize(("line", "kind"), [(b"[1]", "list"), (b'"text"', "str"), (b"3", "int"), (b"null", "NoneType")])
def test_a_line_that_is_no_object_is_named_by_its_number(line: bytes, kind: str, write: Write, tmp_path: Path) -> None:
    path = write(raw=json.dumps(ROW).encode() + b"\n" + line)
    assert refusal(tmp_path).startswith(f"{path}:2: holds {kind}, an object")


@pytest.mark.parametrize("raw", [b"", b"\n \n"])
def test_a_file_without_rows_is_named(raw: bytes, write: Write, tmp_path: Path) -> None:
    path = write(raw=raw)
    assert str(path) in refusal(tmp_path)


# --- the hub ---


def test_without_a_folder_the_hub_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(*names: str, **options: str) -> list[Row]:
        asked.append((names, options))
        return [{**ROW, "label": 1, "idx": 0}, {**ROW, "label": 0, "idx": 1}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = TASK.load("validation", None)
    assert asked == [(("someone/colours", "plain"), {"split": "validation", "revision": "refs/convert/parquet"})]
    assert [example.target for example in found] == ["cold", "warm"]


def test_a_folder_is_preferred_to_the_hub(monkeypatch: pytest.MonkeyPatch, write: Write, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("the hub was asked"))
    write(ROW)
    assert len(TASK.load("train", tmp_path)) == 1


@pytest.mark.parametrize("label", [2, -1, 99])
def test_an_integer_label_that_stands_for_nothing_is_named_by_its_row(label: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # The hidden test split of SuperGLUE has -1.
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: [{**ROW, "label": 0}, {**ROW, "label": label}])
    with pytest.raises(UserError, match=rf"^someone/colours train row 2: label '{label}' is unknown"):
        TASK.load("train", None)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("no route\nto host"),
        FileNotFoundError("Dataset 'someone/colours' doesn't exist"),
        ValueError("Unknown split"),
        RuntimeError(),
        DatasetGenerationError("An error occurred while generating the dataset"),  # a download that broke off
    ],
)
def test_a_hub_that_fails_is_named_with_the_way_out(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: str, **__: str) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UserError) as caught:
        TASK.load("train", None)
    message = str(caught.value)
    assert message.startswith("colours: someone/colours cannot be had from the hub (")
    assert message.endswith("--data-dir")
    assert len(message.splitlines()) == 1


def test_offline_the_hub_fails_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^colours: someone/colours cannot be had from the hub") as caught:
        TASK.load("train", None)
    assert len(str(caught.value).splitlines()) == 1


def test_a_task_that_has_files_alone_asks_for_their_folder() -> None:
    with pytest.raises(UserError, match="data-dir"):
        dataclasses.replace(TASK, hub=None).load("train", None)


# --- generated rows ---


def generate(split: Split) -> Iterator[Row]:
    yield ROW
    if split == "validation":
        yield {"thing": "fire", "how": "what"}


MADE = dataclasses.replace(TASK, hub=None, generate=generate)


def test_generated_rows_need_no_folder() -> None:
    assert MADE.load("train", None) == [Example("snow is what?", "cold", "")]


def test_a_broken_generated_row_is_named() -> None:
    with pytest.raises(UserError, match=re.escape("colours validation row 2: field 'label' is missing")):
        MADE.load("validation", None)
