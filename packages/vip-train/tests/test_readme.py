"""The README's examples run as printed, its commands are understood, and its table of settings is that of the code."""

import dataclasses
import io
import json
import re
import shlex
import sys
from functools import reduce
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vip_core import VIPConfig, VIPPrompt
from vip_train import TASKS, TextTask, TrainConfig, VIPModel, load_adapter, load_backbone
from vip_train.cli import main
from vip_train.commands.compare import CompareConfig
from vip_train.commands.evaluate import EvaluateConfig
from vip_train.commands.export_prompt import ExportConfig
from vip_train.commands.flags import divide
from vip_train.commands.import_prompt import ImportConfig
from vip_train.commands.predict import PredictConfig
from vip_train.commands.push import PushConfig
from vip_train.commands.study import StudyConfig
from vip_train.config import parse
from vip_train.metrics import METRICS
from vip_train.pretrain.loop import PretrainConfig
from vip_train.study.file import read_study
from vip_train.study.plan import plan

PACKAGE = Path(__file__).parent.parent
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
# HUB runs in test_hub.py, where there is one.
USE, MIXED, HUB, EXCHANGE, TASK = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
(STUDY,) = re.findall(r"^```yaml\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
CONFIGS = {
    "pretrain": PretrainConfig,
    "evaluate": EvaluateConfig,
    "predict": PredictConfig,
    "import": ImportConfig,
    "export": ExportConfig,
    "push": PushConfig,
}
COMMANDS = re.findall(r"^    (.*(?:run\.py|vip-train \w+).*)$", README, flags=re.MULTILINE)


@pytest.fixture
def bundled(tmp_path: Path) -> Path:
    """A folder with the runs of two tasks on the bundled backbone, as training would leave them."""
    backbone = load_backbone()
    for name, length in (("forms", 2), ("notes", 3)):
        prompt = VIPPrompt(VIPConfig(prompt_length=length), backbone.model.get_input_embeddings().weight)
        facts = {"backbone": "bundled", "task": name, "answers": ("true", "false")}
        VIPModel(backbone.model, prompt).save_pretrained(tmp_path / "runs" / f"{name}-1" / "adapter", **facts)
    return tmp_path


def test_the_example_of_use_runs_as_printed(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs/forms-1").mkdir(parents=True)
    saved.rename("runs/forms-1/adapter")
    exec(compile(USE, "README.md", "exec"), {})
    answer, codes = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"(true|false) 0\.\d+", answer)
    assert re.fullmatch(r"tensor\(\[\d(, \d){2}\]\)", codes)


def test_the_example_of_several_adapters_runs_as_printed(
    bundled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bundled)
    exec(compile(MIXED, "README.md", "exec"), {})
    assert re.fullmatch(r"forms (true|false)\nnotes (true|false)\n", capsys.readouterr().out)


def test_the_example_of_exchange_runs_as_printed(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundled)
    np.save("prompt.npy", np.ones((4, load_backbone().model.config.d_model), np.float32))
    exec(compile(EXCHANGE, "README.md", "exec"), {})
    assert load_adapter("my-adapter").config.answers == ("yes", "no")
    assert json.loads(Path("PEFT_FOLDER/adapter_config.json").read_text())["num_virtual_tokens"] == 4


def test_the_line_of_an_answer_is_as_printed(
    bundled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bundled)
    (asked,) = re.findall(r"^    echo '(.*)' \| vip-train predict --adapter runs/forms-1/adapter$", README, re.MULTILINE)
    (shown,) = map(json.loads, re.findall(r'^    (\{"line": .*\})$', README, re.MULTILINE))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(asked.encode())))
    assert main(["predict", "--adapter", "runs/forms-1/adapter"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == list(shown)
    assert (found["line"], found["id"]) == (shown["line"], shown["id"])
    # The adapter here is not trained, so the rest of the line is compared with the task and the settings of training.
    forms = TASKS["forms"]
    assert tuple(shown["scores"]) == tuple(forms.answers.values())
    assert shown["prediction"] == max(shown["scores"], key=shown["scores"].__getitem__)
    assert sum(shown["scores"].values()) == pytest.approx(1, abs=1e-4)
    vip = TrainConfig().vip
    assert len(shown["codes"]) == vip.prompt_length
    assert set(shown["codes"]) <= set(range(vip.quantizer.codes))


@pytest.mark.parametrize("command", re.findall(r"`vip-train (push .*?)`", README))
def test_commands_within_text_are_understood(command: str) -> None:
    name, *flags = shlex.split(command)
    assert isinstance(parse(CONFIGS[name], flags, prog=name), CONFIGS[name])


def test_the_task_of_the_example_reads_the_rows_it_describes(tmp_path: Path) -> None:
    namespace: dict[str, Any] = {}
    exec(compile(TASK, "README.md", "exec"), namespace)
    task = namespace["MOOD"]
    assert isinstance(task, TextTask)
    (tmp_path / "Mood").mkdir()
    (row,) = re.findall(r"rows such as (.*)", TASK)
    (tmp_path / "Mood" / "train.jsonl").write_text(row, encoding="utf-8")
    assert task.load("train", tmp_path)[0].source == "message: Thank you! friendly or not?"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command: str) -> None:
    before, name, after = re.split(r"(run\.py|vip-train \w+)", command, maxsplit=1)
    if name.endswith("study"):
        own, others = divide(StudyConfig, shlex.split(after), first="--study")
        config = parse(StudyConfig, own, prog=name)
        path = PACKAGE.parent.parent / config.study
        assert plan(dataclasses.replace(read_study(path), seeds=(0,)), Path("x"), others, path=path)
        return
    if name.endswith("compare"):
        own, others = divide(CompareConfig, shlex.split(after))
        assert parse(CompareConfig, own, prog=name)
        assert parse(TrainConfig, others, prog=name)
        return
    kind: Any = CONFIGS.get(name.split()[-1], TrainConfig)
    # What comes before or behind in a shell is not ours.
    flags = list(takewhile(lambda word: word not in ("|", ">"), shlex.split(after)))
    assert isinstance(parse(kind, flags, prog=name), kind)
    if "run.py" in name:
        assert (PACKAGE.parent.parent / f"{before.split()[-1]}{name}").is_file()


def test_the_example_of_a_study_is_one(tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(PACKAGE / "configs")
    path = tmp_path / "studies" / "example.yaml"
    path.parent.mkdir()
    path.write_text(STUDY, encoding="utf-8")
    study = read_study(path)
    assert len(plan(study, tmp_path)) == len(study.methods) * len(study.tasks) * len(study.seeds) * 2


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 5


def test_the_table_of_settings_is_that_of_the_code() -> None:
    section = README.split("## Settings\n")[1].split("\n## ")[0]
    table = dict(re.findall(r"^\| `([\w.]+)` \| (.*?) ?\|", section, re.MULTILINE))
    assert len(table) >= 20
    for name, default in table.items():
        value = reduce(getattr, name.split("."), TrainConfig())
        assert default == ("" if value is None else f"`{value}`"), name


def test_the_table_of_tasks_is_that_of_the_code() -> None:
    section = README.split("## Tasks\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `") and line.count("|") > 3]
    assert [row[0].strip("`") for row in rows] == list(TASKS)
    for task, (_, answers, metrics, files, *hub) in zip(TASKS.values(), rows, strict=True):
        assert answers == (str(len(task.answers)) if task.answers else "text"), task.name
        assert re.findall(r"`(\w+)`", metrics) == list(task.metrics), task.name
        published = [] if task.generate else [f"{task.folder}/{names[0]}" for names in task.files.values()]
        assert re.findall(r"`(.*?)`", files) == published, task.name
        assert re.findall(r"`(.*?)`", "".join(hub)) == ([task.hub.repository] if task.hub else []), task.name
    described = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| [^|]*\|$", section, re.MULTILINE)
    assert {name for names in described for name in re.findall(r"\w+", names)} == set(METRICS)


def test_files_it_points_to_exist() -> None:
    assert (PACKAGE / "configs" / "paper.yaml").is_file()
    assert (PACKAGE / "src" / "vip_train" / "tasks" / "cb.py").is_file()
