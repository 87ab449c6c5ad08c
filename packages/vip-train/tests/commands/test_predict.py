"""`vip-train predict`: a line in, a line out, in order; bad rows by file, line and column."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from vip_core import QuantizerConfig
from vip_train import load_adapter, predict
from vip_train.cli import main
from vip_train.model import VIPModel

Ask = Callable[..., list[dict[str, Any]]]
Build = Callable[..., VIPModel]


# --- rows and answers ---


def test_each_line_of_text_is_answered_in_order(ask: Ask, saved: Path, texts: list[str]) -> None:
    mixed = [texts[row] for row in (2, 0, 3, 1)]
    found = ask("\n".join(mixed))
    assert [record["line"] for record in found] == [1, 2, 3, 4]
    for record, expected in zip(found, predict(load_adapter(saved), mixed), strict=True):
        assert list(record) == ["line", "prediction", "scores", "codes"]
        assert record["prediction"] == expected.answer
        assert record["scores"] == pytest.approx(expected.probability, rel=1e-4)
        assert record["codes"] == expected.weight_PK.argmax(1).tolist()


def test_rows_of_json_keep_their_names_and_blank_lines_are_no_rows(ask: Ask) -> None:
    rows = (
        '\ufeff{"id": "ä", "idx": 3, "source": "Ba ke."}\n\n{"source": "lo", "idx": {"p": 1}}\r\n{"id": null, "source": "ke"}\n'
    )
    found = ask(rows + '{"source": "ra"}')
    assert [record["line"] for record in found] == [1, 3, 4, 5]
    assert [record.get("id", "none") for record in found] == ["ä", {"p": 1}, None, "none"]


@pytest.mark.parametrize("window", [1, 2, 8])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_order_and_answers_do_not_depend_on_batches_and_windows(size: int, window: int, ask: Ask, texts: list[str]) -> None:
    mixed = [texts[row % 4] for row in (2, 0, 3, 1, 1, 3, 0)]
    found = ask("\n".join(mixed), "--batch-size", size, "--length-window", window)
    assert [record["line"] for record in found] == list(range(1, 8))
    for record, expected in zip(found, ask("\n".join(mixed)), strict=True):
        assert record["prediction"] == expected["prediction"]
        assert record["scores"] == pytest.approx(expected["scores"], rel=1e-4)


def test_another_column_has_the_text(ask: Ask) -> None:
    assert ask('{"review": "Ba ke."}', "--source-column", "review") == ask("Ba ke.")


def test_a_task_words_its_rows_and_its_answers_are_taken(ask: Ask, texts: list[str]) -> None:
    row = {"premise": f" {texts[0]} ", "hypothesis": texts[1]}
    (found,) = ask(json.dumps(row), "--task", "superglue/cb")
    (plain,) = ask(f"premise: {texts[0]} hypothesis: {texts[1]} true, false or neither?")
    assert found["codes"] == plain["codes"]
    assert list(found["scores"]) == ["true", "false", "neither"]
    assert found["scores"]["true"] / found["scores"]["false"] == pytest.approx(
        plain["scores"]["true"] / plain["scores"]["false"], rel=1e-3
    )


def test_text_is_worded_by_a_task_of_one_column(ask: Ask) -> None:
    assert ask("Ba ke.", "--task", "reviews")[0]["codes"] == ask("Ba ke. Good news, yes or no?")[0]["codes"]


def test_answers_of_another_task_are_told(
    saved: Path, feed: Callable[[bytes], None], capfd: pytest.CaptureFixture[str]
) -> None:
    feed(b"Ba ke.")
    assert main(["predict", "--adapter", str(saved), "--task", "reviews"]) == 0
    assert capfd.readouterr().err.splitlines()[0] == (
        "the answers are those of reviews ('yes', 'no'); the adapter was trained for superglue/cb ('true', 'false')"
    )


def test_codes_are_told_as_asked(ask: Ask, saved: Path) -> None:
    (weights,) = ask("Ba ke.", "--codes", "weights")
    expected = next(predict(load_adapter(saved), ["Ba ke."])).weight_PK
    for told, weight_K in zip(weights["codes"], expected.tolist(), strict=True):
        assert told == pytest.approx({str(code): weight for code, weight in enumerate(weight_K) if weight > 1e-3}, rel=1e-4)
    assert "codes" not in ask("Ba ke.", "--codes", "none")[0]
    (likeliest,) = ask("Ba ke.", "--codes", "weights", "--how", "argmax")
    assert [list(told.values()) for told in likeliest["codes"]] == [[1.0]] * 3


@pytest.mark.parametrize("values", [{"method": "pt"}, {"method": "vip-c"}, {"quantizer": QuantizerConfig(codes=7)}])
def test_where_no_codes_are_in_use_there_are_none(values: dict[str, Any], ask: Ask, build: Build, tmp_path: Path) -> None:
    """Without a codebook, and during its warm-up."""
    model = build(**values)
    model.save_pretrained(tmp_path / "plain", backbone=str(model.backbone.name_or_path), answers=("ba", "ke"))
    for how in ("main", "weights"):
        assert ask("Ba ke.", "--codes", how, adapter=tmp_path / "plain")[0]["codes"] is None


def test_free_text_is_written(ask: Ask, build: Build, texts: list[str], tmp_path: Path) -> None:
    model = build()
    model.save_pretrained(tmp_path / "free", backbone=str(model.backbone.name_or_path))
    found = ask("\n".join(texts), "--max-new-tokens", 5, adapter=tmp_path / "free")
    expected = list(predict(load_adapter(tmp_path / "free"), texts, max_new_tokens=5))
    assert [record["prediction"] for record in found] == [one.answer for one in expected]
    assert all(record["scores"] == {} for record in found)


def test_likelihoods_that_are_no_numbers_are_refused(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VIPModel, "score_targets", lambda self, prompted, row_N, label_NT: torch.full((len(row_N),), torch.nan))
    assert "not finite" in refused("predict", stdin="Ba ke.")


def test_no_rows_are_no_answers(ask: Ask) -> None:
    assert ask("") == ask("\n", "--input-format", "jsonl") == []


def test_throughput_is_told_beside_the_answers(
    saved: Path, feed: Callable[[bytes], None], capfd: pytest.CaptureFixture[str]
) -> None:
    feed(b"Ba ke.\nLo.\n")
    assert main(["predict", "--adapter", str(saved)]) == 0
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("2 rows in ")
    assert "loading not counted: " in line
    assert "source tokens/s" in line


# --- bad rows ---

BAD = [
    (b'{"source": "a"', "is not JSON: "),
    (b"hello", "is not JSON: Expecting value at character 1"),
    (b'{"source": NaN}', "is not JSON: NaN is no number"),
    (b"[1]", "holds list, an object was expected"),
    (b'{"text": "a"}', "field 'source' is missing, found 'text'"),
    (b'{"source": 3}', "field 'source' is int, text was expected"),
    (b'{"source": null}', "field 'source' is NoneType, text was expected"),
    (b'{"source": " \\n"}', "field 'source' is blank"),
    (b'{"source": "\\ud800"}', "field 'source' holds half of a surrogate pair, which is no character"),
    (b'{"source": "a", "id": "\\udc00"}', "field 'id' cannot be written again: "),
    (b'{"source": "a", "idx": 1e999}', "field 'idx' cannot be written again: "),
    (b'{"source": "\xff"}', "is not UTF-8: invalid start byte at byte 13"),
    (b'{"source": ' + b"[" * 200_000, "is JSON too deep to be read"),
    (b'{"source": ' + b"9" * 5000 + b"}", "is not JSON: "),
]


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_a_bad_row_is_named_by_file_line_and_column(row: bytes, reason: str, refused: Callable[..., str]) -> None:
    assert refused("predict", stdin=b'{"source": "Ba."}\n\n' + row + b"\n").startswith(f"<stdin>:3: {reason}")


@pytest.mark.parametrize(("row", "reason"), [(b" ", "field 'source' is blank"), (b"\xc3", "is not UTF-8: ")])
def test_a_bad_line_of_text_is_named(row: bytes, reason: str, refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_bytes(b"Ba.\n" + row + b"\nke")
    assert refused("predict", "--input", tmp_path / "rows.txt").startswith(f"{tmp_path / 'rows.txt'}:2: {reason}")


def test_a_bad_row_of_a_task_is_named(refused: Callable[..., str]) -> None:
    said = refused("predict", "--task", "superglue/cb", stdin='{"premise": "a"}')
    assert said == "<stdin>:1: field 'hypothesis' is missing, found 'premise'"
    said = refused("predict", "--task", "superglue/cb", stdin='{"premise": "", "hypothesis": "b"}')
    assert said == "<stdin>:1: field 'premise' is blank"


def test_bad_rows_are_passed_over_if_wanted_and_told(
    saved: Path, feed: Callable[[bytes], None], capfd: pytest.CaptureFixture[str]
) -> None:
    feed(b"\n".join([b'{"source": "Ba."}', *(row for row, _ in BAD), b'{"source": "Ke."}']))
    assert main(["predict", "--adapter", str(saved), "--skip-bad-rows", "true"]) == 0
    said = capfd.readouterr()
    assert [json.loads(line)["line"] for line in said.out.splitlines()] == [1, len(BAD) + 2]
    first = said.err.splitlines()[0]
    assert first.startswith(f"{len(BAD)} bad rows were skipped, the first: <stdin>:2: is not JSON: ")


@pytest.mark.parametrize(
    ("data", "flags", "named"),
    [
        ("Ba.", ("--task", "superglue/cb"), "<stdin>: is text, and a row of superglue/cb is more than one text"),
        ("Ba.", ("--task", "nothing"), "task=nothing: "),
        ("Ba.", ("--task", "superglue/cb+squad"), "task=superglue/cb+squad: is no single task"),
        ("Ba.", ("--input", "/nowhere/rows.jsonl"), "/nowhere/rows.jsonl: no such file"),
        ("Ba.", ("--output", "/nowhere/found.jsonl"), "/nowhere/found.jsonl: cannot be created: "),
        ("Ba.", ("--output", "/dev/null", "--overwrite", "true"), "/dev/null: is no ordinary file"),
        ("Ba.", ("--batch-size", "0"), "batch_size=0 must be at least 1"),
        ("Ba.", ("--length-window", "0"), "length_window=0 must be at least 1"),
        ("Ba.", ("--max-new-tokens", "0"), "max_new_tokens=0 must be at least 1"),
        ("Ba.", ("--device", "tpu"), "device=tpu must be "),
        ("Ba.", ("--device", "cuda:1"), "device=cuda:1: there is no such GPU, 0 were found"),
        ("Ba.", ("--precision", "fp16"), "precision=fp16: "),
        ("Ba.", ("--adapter", "/nowhere/adapter"), "/nowhere/adapter: "),
        ("Ba.", ("--how", "best"), "how"),
    ],
)
def test_a_wrong_setting_is_named(data: str, flags: tuple[str, ...], named: str, refused: Callable[..., str]) -> None:
    assert named in refused("predict", *flags, stdin=data)
