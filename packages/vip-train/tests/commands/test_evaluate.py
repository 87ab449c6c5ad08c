"""`vip-train evaluate`: the figures of training, bit for bit, and a line for each example."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vip_train import TASKS, TrainConfig, load_adapter, predict
from vip_train.cli import main
from vip_train.model import VIPModel
from vip_train.training import train

Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture
def figures(capfd: pytest.CaptureFixture[str]) -> Evaluate:
    """The figures of an evaluation by name."""

    def run(adapter: Path, *flags: object) -> dict[str, Any]:
        capfd.readouterr()
        status = main(["evaluate", "--adapter", str(adapter), "--json", "true", *map(str, flags)])
        said = capfd.readouterr()
        assert status == 0, said.err
        found: dict[str, Any] = json.loads(said.out)
        return found

    return run


@pytest.fixture
def published(data: Path, texts: list[str], tmp_path: Path) -> Path:
    """CB, a SQuAD of three questions and an AX-b of four pairs."""
    folder = shutil.copytree(data, tmp_path / "published")
    asked = [{"question": f"{text}?", "answers": [{"text": text.split()[0]}, {"text": text.split()[-1]}]} for text in texts[:3]]
    document = json.dumps({"data": [{"paragraphs": [{"context": " ".join(texts), "qas": asked}]}]})
    (folder / "squad").mkdir()
    for name in ("train-v1.1.json", "dev-v1.1.json"):
        (folder / "squad" / name).write_text(document, encoding="utf-8")
    labels = ("entailment", "not_entailment")
    pairs = [{"sentence1": text, "sentence2": texts[0], "label": labels[row % 2]} for row, text in enumerate(texts)]
    (folder / "AX-b").mkdir()
    (folder / "AX-b" / "AX-b.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    return folder


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("method", ["vip", "vip-c", "pt"])
def test_figures_are_those_of_training_bit_for_bit(
    method: str, flags: list[str], data: Path, figures: Evaluate, tmp_path: Path
) -> None:
    assert main(["train", *flags, "--vip.method", method, "--output", str(tmp_path / "run")]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    found = figures(tmp_path / "run" / "adapter", "--data-dir", data, "--output", tmp_path / "found.jsonl")
    expected = {name: value for name, value in results.items() if name.startswith("validation_")}
    assert expected["validation_nll"] > 0
    assert {name: value for name, value in found.items() if name.startswith("validation_")} == expected
    assert figures(tmp_path / "run" / "adapter", "--data-dir", data) == found, "who watches changes nothing"


def test_figures_of_a_mixture_with_free_text_are_those_of_training(
    settings: Callable[..., TrainConfig], published: Path, figures: Evaluate, tmp_path: Path
) -> None:
    task = "superglue/cb+squad+superglue/ax-b:0"
    folder = train(settings(task=task, data_dir=published, output=tmp_path / "run"))
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    output = tmp_path / "found.jsonl"
    found = figures(folder / "adapter", "--data-dir", published, "--output", output)
    assert found["task"] == task
    expected = {name: value for name, value in results.items() if name.startswith("validation_")}
    assert {name: value for name, value in found.items() if name.startswith("validation_")} == expected
    assert {name.removeprefix("constant_") for name in found if name.startswith("constant_")} == {
        name.removeprefix("majority_") for name in results if name.startswith("majority_")
    }
    told = rows(output)
    assert [row["task"] for row in told] == ["superglue/cb"] * 11 + ["squad"] * 3 + ["superglue/ax-b"] * 4
    assert [tuple(row["scores"]) for row in told[10:12]] == [("true", "false", "neither"), ()]
    assert tuple(told[-1]["scores"]) == ("true", "false")
    assert all(sum(row["scores"].values()) == pytest.approx(1, abs=1e-4) for row in told if row["task"] != "squad")
    # Of the training split it has the parts that are trained on.
    train_split = figures(folder / "adapter", "--data-dir", published, "--split", "train")
    assert train_split["examples"] == 30 + 3
    assert "train_accuracy/superglue/cb" in train_split
    assert "train_matthews/superglue/ax-b" not in train_split


def test_each_example_has_a_line(saved: Path, data: Path, figures: Evaluate, tmp_path: Path) -> None:
    output = tmp_path / "found.jsonl"
    found = figures(saved, "--data-dir", data, "--output", output, "--batch-size", 4)
    told, examples = rows(output), TASKS["superglue/cb"].load("validation", data)
    adapter = load_adapter(saved)
    adapter = adapter._replace(
        config=adapter.config.__class__(**{**vars(adapter.config), "answers": ("true", "false", "neither")})
    )
    expected = list(predict(adapter, [example.source for example in examples]))
    assert [row["row"] for row in told] == list(range(1, 12))
    for row, example, one in zip(told, examples, expected, strict=True):
        assert list(row) == ["row", "prediction", "target", "nll", "scores", "codes"]
        assert (row["prediction"], row["target"]) == (one.answer, example.target)
        assert row["scores"] == pytest.approx(one.probability, rel=1e-4)
        assert row["codes"] == one.weight_PK.argmax(1).tolist()
    assert sum(row["nll"] for row in told) / 11 == pytest.approx(found["validation_nll"], rel=1e-4)
    right = sum(row["prediction"] == row["target"] for row in told)
    assert found["validation_accuracy"] == pytest.approx(right / 11)


def test_free_text_has_its_references(
    saved: Path, published: Path, figures: Evaluate, texts: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "found.jsonl"
    found = figures(saved, "--data-dir", published, "--task", "squad", "--output", output, "--codes", "none")
    assert {"validation_f1", "validation_exact_match", "constant_f1"} <= found.keys()
    (first, *_) = told = rows(output)
    assert len(told) == found["examples"] == 3
    assert list(first) == ["row", "references", "prediction", "target", "nll", "scores"]
    assert first["references"] == [texts[0].split()[0], texts[0].split()[-1]]
    assert first["scores"] == {}


def test_a_split_without_training_examples_is_scored_beside_its_best_constant_answer(
    saved: Path, published: Path, figures: Evaluate
) -> None:
    found = figures(saved, "--data-dir", published, "--task", "superglue/ax-b")
    assert (found["examples"], found["constant_matthews"], found["constant_accuracy"]) == (4, 0, 0.5)


def test_a_quick_look_takes_some_examples(saved: Path, data: Path, figures: Evaluate) -> None:
    assert figures(saved, "--data-dir", data, "--max-validation-examples", 5)["examples"] == 5
    assert figures(saved, "--data-dir", data, "--split", "train", "--max-train-examples", 7)["examples"] == 7


def test_a_person_reads_a_table(saved: Path, data: Path, figures: Evaluate, capfd: pytest.CaptureFixture[str]) -> None:
    found = figures(saved, "--data-dir", data)
    assert main(["evaluate", "--adapter", str(saved), "--data-dir", str(data)]) == 0
    said = capfd.readouterr()
    accuracy, constant = found["validation_accuracy"], found["constant_accuracy"]
    below = ", which is better" if accuracy < constant else ""
    first, *rest = said.out.splitlines()
    assert first == f"superglue/cb, validation split: 11 examples, {found['truncated']} of them cut"
    assert f"accuracy         {accuracy:.3f}   (the best constant answer on this split: {constant:.3f}{below})" in rest
    assert f"loss             {found['validation_nll']:.3f}   (a constant answer: {found['label_entropy']:.3f})" in rest
    assert f"code perplexity  {found['validation_code_perplexity']:.1f}" in said.out
    note, throughput = said.err.splitlines()
    assert note == (
        "the answers are those of superglue/cb ('true', 'false', 'neither'); "
        "the adapter was trained for superglue/cb ('true', 'false')"
    )
    assert throughput.startswith("11 rows in ")


def test_with_lines_on_stdout_the_figures_are_elsewhere(saved: Path, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = ["--adapter", str(saved), "--data-dir", str(data), "--output", "-"]
    assert main(["evaluate", *flags]) == 0
    said = capfd.readouterr()
    assert [json.loads(line)["row"] for line in said.out.splitlines()] == list(range(1, 12))
    assert "the best constant answer on this split" in said.err


def test_an_adapter_without_a_task_needs_one(
    build: Callable[..., VIPModel], data: Path, figures: Evaluate, refused: Callable[..., str], tmp_path: Path
) -> None:
    model = build()
    model.save_pretrained(tmp_path / "plain", backbone=str(model.backbone.name_or_path))
    said = refused("evaluate", "--adapter", tmp_path / "plain", "--data-dir", data)
    assert said == f"{tmp_path / 'plain'}: does not say what it was trained for; name a task by --task, or a file"
    assert figures(tmp_path / "plain", "--data-dir", data, "--task", "superglue/cb")["examples"] == 11


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--task", "nothing"), "task=nothing: is unknown"),
        (("--data-dir", "/nowhere"), "/nowhere/CB/val.jsonl: no such file"),
        (("--split", "test"), "split"),
        (("--task", "superglue/ax-b", "--split", "train"), "superglue/ax-b: has no train split"),
        (("--adapter", "/nowhere/adapter"), "/nowhere/adapter: "),
        (("--batch-size", "0"), "batch_size=0 must be at least 1"),
        (("--max-validation-examples", "0"), "max_validation_examples=0 must be at least 1"),
        (("--device", "gpu"), "device=gpu must be "),
        (("--output", "/nowhere/found.jsonl"), "/nowhere/found.jsonl: cannot be created: "),
    ],
)
def test_a_wrong_setting_is_named(flags: tuple[str, ...], named: str, refused: Callable[..., str]) -> None:
    assert named in refused("evaluate", *flags)


def test_an_output_that_is_there_is_kept_unless_it_may_go(
    saved: Path, data: Path, figures: Evaluate, refused: Callable[..., str], tmp_path: Path
) -> None:
    output = tmp_path / "found.jsonl"
    output.write_text("mine")
    assert "is there already" in refused("evaluate", "--data-dir", data, "--output", output, "--backbone", "/nowhere/t5")
    assert output.read_text() == "mine"
    figures(saved, "--data-dir", data, "--output", output, "--overwrite", "true")
    assert len(rows(output)) == 11
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_loss_that_is_no_number_is_refused(data: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = VIPModel.score_answers
    monkeypatch.setattr(VIPModel, "score_answers", lambda *values: real(*values) * float("nan"))
    assert "not finite" in refused("evaluate", "--data-dir", data)


def test_it_is_a_program(saved: Path, data: Path, execute: Callable[..., Any]) -> None:
    run = execute(
        *(sys.executable, "-W", "error", "-m", "vip_train.cli", "evaluate"),
        *("--adapter", saved, "--data-dir", data, "--json", "true"),
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["examples"] == 11
