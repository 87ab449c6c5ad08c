"""Runs on a user's own table, from the command line to the answers of the adapter."""

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from vip_train import load_adapter, predict
from vip_train.cli import main

Begin = Callable[..., int]


@pytest.fixture
def table(tmp_path: Path, texts: list[str]) -> Path:
    """A CSV file of 60 rows, of which the sixth has an unknown label."""
    path = tmp_path / "my mail.csv"
    rng = random.Random(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["number", "text", "kind"])
        for number in range(60):
            kind = "mayb" if number == 5 else rng.choice(["yes", "no", "no"])
            writer.writerow([number, f"{rng.choice(texts)} {number}", kind])
    return path


@pytest.fixture
def begin(flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Trains with further flags in a folder of its own; returns the exit status."""
    monkeypatch.chdir(tmp_path)
    common = [flag for flag in flags if flag not in ("--task", "superglue/cb", "--data-dir")]
    common.remove(flags[flags.index("--data-dir") + 1])
    return lambda *more: main(["train", *common, *map(str, more)])


OWN = ("--source-column", "text", "--target-column", "kind")


def test_a_table_with_labels_is_trained_on_and_answered_by_them(
    table: Path, begin: Begin, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert begin("--train-file", table, *OWN, "--labels", "[yes, no]", "--id-column", "number", "--skip-bad-rows", "true") == 0
    run = Path("runs/my mail-1")
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert results["skipped_rows"] == 1
    assert {"validation_accuracy", "validation_macro_f1", "majority_accuracy"} <= set(results)
    said = capfd.readouterr().out
    assert "validation examples, held out by the hash of the source" in said
    assert f"1 bad rows skipped\n  {table}:7: column 'kind': 'mayb' is unknown, allowed are 'yes', 'no'\n" in said
    adapter = load_adapter(run / "adapter")
    assert (adapter.config.task, adapter.config.answers) == ("", ("yes", "no"))
    assert {found.answer for found in predict(adapter, ["some text"])} <= {"yes", "no"}


def test_a_table_of_free_text_is_trained_on_and_written(table: Path, begin: Begin, tmp_path: Path) -> None:
    held = tmp_path / "held.jsonl"
    held.write_text('{"text": "a", "kind": "yes"}\n{"text": "b", "kind": "no"}\n', encoding="utf-8")
    assert begin("--train-file", table, *OWN, "--validation-file", held, "--output", "run") == 0
    results = json.loads(Path("run/results.json").read_text(encoding="utf-8"))
    assert {"validation_f1", "validation_exact_match"} <= set(results)
    assert "skipped_rows" not in results
    assert load_adapter(Path("run/adapter")).config.answers == ()


def test_a_run_continues_with_the_same_rows_wherever_they_lie_and_with_no_others(
    table: Path, begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    more = (*OWN, "--output", "run", "--checkpoint.every", "2")
    with monkeypatch.context() as patch:
        patch.setattr("vip_train.training._Run._evaluate", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            begin("--train-file", table, *more)
    moved = tmp_path / "elsewhere.csv"
    moved.write_bytes(table.read_bytes() + b"60,one more,no\r\n")
    capfd.readouterr()
    assert begin("--train-file", moved, *more) == 2, "another row"
    said = capfd.readouterr()
    assert "none of its 1 checkpoints can be used" in said.err
    assert f"train_file={moved}: the examples are not those the run began with" in said.out
    moved.write_bytes(table.read_bytes())
    assert begin("--train-file", moved, *more) == 0
    assert "continues after step 2" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        (None, (), "rows.csv: no such file"),
        ("", (), "rows.csv: is empty"),
        ("text,kind\n", (), "rows.csv: has no rows"),
        ("text,label\na,b\n", (), "rows.csv:1: column 'kind' is missing, found 'text', 'label'"),
        ("text,kind\na,mayb\n", ("--labels", "[yes, no]"), "rows.csv:2: column 'kind': 'mayb' is unknown"),
        ('text,kind\na,"b\nc,d\n', (), "rows.csv:2: cannot be split into fields"),
        ("text,kind\na,b\n", ("--encoding", "klingon"), "encoding=klingon must be an encoding of text"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing(
    content: str | None, more: tuple[str, ...], said: str, begin: Begin, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "rows.csv").write_text(content, encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    capfd.readouterr()
    assert begin("--train-file", "rows.csv", *OWN, *more) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("vip-train: ")
    assert said in line
    assert sorted(tmp_path.rglob("*")) == before


def test_an_adapter_is_scored_on_a_table_as_the_run_that_made_it_was(
    table: Path, begin: Begin, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert begin("--train-file", table, *OWN, "--labels", "[yes, no]", "--skip-bad-rows", "true") == 0
    run = Path("runs/my mail-1")
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    evaluate = ["evaluate", "--adapter", str(run / "adapter"), *OWN, "--skip-bad-rows", "true", "--json", "true"]
    capfd.readouterr()
    assert main([*evaluate, "--train-file", str(table)]) == 0
    said = capfd.readouterr()
    held_out = json.loads(said.out)
    for name in ("accuracy", "macro_f1", "nll", "code_perplexity"):
        assert held_out[f"validation_{name}"] == results[f"validation_{name}"]
    assert f"1 bad rows were skipped, the first: {table}:7: column 'kind'" in said.err

    assert main([*evaluate, "--validation-file", str(table)]) == 0
    whole = json.loads(capfd.readouterr().out)
    assert (whole["examples"], whole["task"]) == (59, str(table))
    lines = tmp_path / "lines.jsonl"
    assert main([*evaluate, "--validation-file", str(table), "--output", str(lines), "--max-validation-examples", "20"]) == 0
    capfd.readouterr()
    written = table.read_text(encoding="utf-8").splitlines()
    for found in map(json.loads, lines.read_text(encoding="utf-8").splitlines()):
        assert written[found["line"] - 1].endswith(f",{found['target']}")
    assert held_out["examples"] < 59
    assert main([*evaluate, "--validation-file", str(table), "--split", "train"]) == 2
    assert f"validation_file={table}: is not trained on" in capfd.readouterr().err
    assert main([*evaluate, "--validation-file", str(table), "--task", "forms"]) == 2
    assert "task=forms must not be given with a file of one's own" in capfd.readouterr().err


def test_labels_may_be_numbers(table: Path, begin: Begin, tmp_path: Path) -> None:
    """The backbone of the other tests has never seen a digit."""
    path = tmp_path / "numbers.csv"
    path.write_text(table.read_text(encoding="utf-8").replace(",yes", ",1").replace(",no", ",0"), encoding="utf-8")
    assert begin("--train-file", path, *OWN, "--labels", "[0, 1]", "--skip-bad-rows", "true", "--backbone", "bundled") == 0
    assert load_adapter(Path("runs/numbers-1/adapter")).config.answers == ("0", "1")


def test_labels_that_are_the_same_tokens_are_refused(
    table: Path, begin: Begin, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "faces.csv"
    path.write_text(table.read_text(encoding="utf-8").replace(",yes", ",日本").replace(",no", ",中国"), encoding="utf-8")
    assert begin("--train-file", path, *OWN, "--labels", "[日本, 中国]", "--skip-bad-rows", "true") == 2
    assert "labels: '日本' and '中国' are the same to the backbone's vocabulary" in capfd.readouterr().err
    assert not (tmp_path / "runs").exists()
