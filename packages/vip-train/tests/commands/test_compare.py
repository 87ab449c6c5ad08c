"""Soft prompt tuning and VIP side by side, as a user starts it."""

import json
from pathlib import Path

import pytest
from vip_train.adapter import read_adapter_config
from vip_train.cli import main
from vip_train.errors import Stopped


@pytest.fixture
def flags(data: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Both methods on a CB of 30 rows, from an empty folder."""
    monkeypatch.chdir(tmp_path)
    steps = ["--optimizer.steps", "4", "--optimizer.evaluate-every", "2", "--optimizer.batch-size", "8"]
    small = ["--vip.prompt-length", "2", "--vip.quantizer.codes", "7", "--vip.quantizer.warmup-steps", "1"]
    task = ["--task", "superglue/cb", "--data-dir", str(data), "--backbone", str(tiny_backbone)]
    return ["compare", *task, *steps, *small]


def test_it_shows_both_with_their_scores_and_codes(flags: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 0
    said = capfd.readouterr().out
    folder = Path("runs/compare-superglue-cb-1/runs/superglue-cb")
    scores = {}
    for method in ("PT", "VIP"):
        results = json.loads((folder / method / "seed-0" / "results.json").read_text(encoding="utf-8"))
        scores[method] = f"{results['validation_accuracy']:8.3f}"
        assert f"{results['trained_parameters']:>8,}" in said
        assert said.count(f"{method:<4} step     2  training loss") == 1
        assert f"{method:<4} step     4  training loss {results['train_nll']:.3f}" in said
    assert any(line.startswith("accuracy ") and line.endswith(scores["PT"] + scores["VIP"]) for line in said.splitlines())
    adapter = folder / "VIP" / "seed-0" / "adapter"
    assert f"vip-demo --adapter {adapter}" in said
    assert read_adapter_config(adapter).vip.method == "vip"
    assert "PT   learning rate 0.3\nVIP  learning rate 0.03, of the contextualizer 0.003; codes from step 2 on\n" in said
    codes = said.partition("codes that VIP selects")[2].splitlines()
    assert [line.split()[0] for line in codes[1:4]] == ["false", "neither", "true"]
    shares = [int(word.removesuffix("%")) for word in codes[1].split()[1:] if word.endswith("%")]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 101


def test_it_goes_on_where_it_stopped_and_says_it_again(flags: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    there = [*flags, "--output", "there", "--seed", "3"]
    assert main(there) == 0
    first = capfd.readouterr().out.partition("\nvalidation split")[2]
    made = Path("there/runs/superglue-cb/VIP/seed-3/results.json").stat().st_mtime_ns
    assert main(there) == 0
    assert capfd.readouterr().out.partition("\nvalidation split")[2] == first
    assert Path("there/runs/superglue-cb/VIP/seed-3/results.json").stat().st_mtime_ns == made


def test_a_table_of_ones_own_may_stand_in_a_file_of_settings(flags: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    rows = [{"source": f"number {row}", "target": ("odd", "even")[row % 2]} for row in range(30)]
    Path("sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    Path("own.yaml").write_text("train_file: sums.jsonl\nlabels: [odd, even]\n", encoding="utf-8")
    del flags[1:5]  # the task and its folder
    assert main([*flags, "--config", "own.yaml"]) == 0
    assert "in runs/compare-sums-1" in capfd.readouterr().out


def test_one_that_is_stopped_says_how_it_goes_on(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise Stopped("stopped by SIGINT; the same command continues the study")

    monkeypatch.setattr("vip_train.commands.compare.train_cells", stop)
    assert main(flags) == 75
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.endswith("stopped by a signal; the same command with --output runs/compare-superglue-cb-1 continues")


def test_codes_that_are_not_in_use_are_not_shown(flags: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*flags, "--vip.quantizer.warmup-steps", "9"]) == 0
    assert "codes are not in use yet" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--vip.method", "pt"], "vip.method, full_fine_tuning: compare trains methods pt and vip"),
        (["--full-fine-tuning", "true"], "vip.method, full_fine_tuning: compare trains methods pt and vip"),
        (["--workers", "0"], "workers=0 must be at least 1"),
        (["--task", "superglue/bc"], "superglue/bc: is unknown"),
        (["--backbone", "gone"], ", seed 0: gone: cannot be loaded"),
        (["--backbone", "gone"], "; the same command with --output runs/compare-superglue-cb-1 tries again"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    more: list[str], reason: str, flags: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags, *more]) == 2
    assert reason in capfd.readouterr().err.splitlines()[-1]
