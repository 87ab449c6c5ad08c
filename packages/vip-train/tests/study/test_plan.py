"""Which runs follow from a study file, and what is refused in one."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vip_train.config import to_yaml
from vip_train.errors import UserError
from vip_train.study.file import read_study
from vip_train.study.plan import Cell, plan

Write = Callable[..., Path]
STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.yaml"))


def cells(path: Path, *flags: str) -> list[Cell]:
    return plan(read_study(path), Path("out"), flags, path=path)


def test_every_method_is_run_on_every_task_with_every_seed(write: Write) -> None:
    found = cells(write(tasks=["superglue/cb", "forms"]))
    assert [(cell.seed, cell.task, cell.method) for cell in found] == [
        *((0, "superglue/cb", "PT"), (0, "superglue/cb", "VIP"), (0, "forms", "PT"), (0, "forms", "VIP")),
        *((1, "superglue/cb", "PT"), (1, "superglue/cb", "VIP"), (1, "forms", "PT"), (1, "forms", "VIP")),
    ]
    assert [cell.config.optimizer.seed for cell in found] == [cell.seed for cell in found]
    assert [cell.config.task for cell in found] == [cell.task for cell in found]
    assert [cell.config.vip.method for cell in found] == [cell.method.lower() for cell in found]
    assert found[0].path == found[0].config.output == Path("out/runs/superglue-cb/PT/seed-0")
    assert len({cell.path for cell in found}) == len({cell.log for cell in found}) == 8


def test_axes_are_any_settings_each_value_with_every_other(write: Write) -> None:
    axes = {"vip.quantizer.codes": [20, 30], "optimizer.schedule.name": ["constant", "linear"]}
    found = cells(write(axes=axes, seeds=[5]))
    assert {cell.axes for cell in found} == {(codes, name) for codes in ("20", "30") for name in ("constant", "linear")}
    assert {(cell.config.vip.quantizer.codes, cell.config.optimizer.schedule.name) for cell in found} == {
        (codes, name) for codes in (20, 30) for name in ("constant", "linear")
    }
    assert found[0].path == Path("out/runs/superglue-cb/PT/vip.quantizer.codes=20/optimizer.schedule.name=constant/seed-5")
    assert found[0].name == "superglue/cb, PT, 20, constant, seed 5"


def test_the_more_special_setting_wins(write: Write, tmp_path: Path) -> None:
    (tmp_path / "start.yaml").write_text(
        "optimizer: {steps: 1, batch_size: 1, evaluate_every: 1, clip_norm: 9, length_window: 9}"
    )
    found = cells(
        write(
            config="start.yaml",
            base={"optimizer": {"steps": 2, "batch_size": 2}, "optimizer.evaluate_every": 2, "optimizer.clip_norm": 8},
            tasks={"superglue/cb": {"optimizer.batch_size": 4, "optimizer.evaluate_every": 4}},
            methods={"VIP": {"optimizer": {"evaluate_every": 5}, "vip.prompt_length": 5}},
            baseline="VIP",
            axes={"vip.prompt_length": [6]},
        ),
        "--optimizer.steps=3",
        "--optimizer.clip-norm",
        "7",
    )
    config = found[0].config
    assert (config.optimizer.length_window, config.optimizer.clip_norm, config.optimizer.steps) == (9, 7.0, 3)
    assert (config.optimizer.batch_size, config.optimizer.evaluate_every, config.vip.prompt_length) == (4, 5, 6)


def test_a_task_may_have_a_name_of_its_own(write: Write) -> None:
    (first, *_) = cells(write(tasks={"both": {"task": "superglue/cb+superglue/rte:0"}}))
    assert (first.task, first.config.task) == ("both", "superglue/cb+superglue/rte:0")


@pytest.mark.parametrize("where", ["base", "tasks", "flags"])
def test_a_table_of_one_s_own_is_a_task_too(write: Write, where: str) -> None:
    own = {"train_file": "mail.csv", "labels": ["yes", "no"]}
    values = {"base": own} if where == "base" else {"tasks": {"mail": own}} if where == "tasks" else {}
    flags = ["--train-file=mail.csv", "--labels=[yes, no]"] if where == "flags" else []
    (first, *_) = cells(write(**{"tasks": {"mail": {}}} | values), *flags)
    assert first.task == "mail"
    assert first.config.train_file == Path("mail.csv")
    assert first.config.labels == ("yes", "no")


def test_values_are_those_that_are_written(write: Write) -> None:
    path = write()
    path.write_text(
        "methods: {PT: }\ntasks: {yes: {task: forms}, 1: {task: notes}}\nseeds: [0]\nbase: {optimizer.clip-norm: 1e-4}\n"
        "axes: {optimizer.schedule.name: [constant], vip.skip: [yes, off]}\n",
        encoding="utf-8",
    )
    found = cells(path)
    assert {cell.task for cell in found} == {"yes", "1"}
    assert {cell.axes for cell in found} == {("constant", "yes"), ("constant", "off")}
    assert {cell.config.vip.skip for cell in found} == {True, False}
    assert found[0].config.optimizer.clip_norm == 1e-4


@pytest.mark.parametrize("flags", [["--optimizer.seed=3"], ["--optimizer.seed", "3"], ["--output=x"]])
def test_what_the_study_makes_is_not_given(write: Write, flags: list[str]) -> None:
    with pytest.raises(UserError, match=r"flags of a study: (optimizer\.seed|output) is made by the study"):
        cells(write(), *flags)


def test_logs_are_apart_as_folders_are(write: Write) -> None:
    found = cells(write(tasks={"a": {"task": "forms"}, "a_b": {"task": "forms"}}, methods={"b_c": {}, "c": {}}, baseline="c"))
    assert len({cell.log for cell in found}) == len(found)


def test_the_flags_are_those_of_the_run(write: Write, tmp_path: Path) -> None:
    from vip_train.config import TrainConfig, parse

    for cell in cells(write(base={"data_dir": str(tmp_path), "optimizer.schedule": {"name": "linear"}, "precision": "fp32"})):
        assert parse(TrainConfig, cell.flags, prog="") == cell.config


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_ready_studies_are_whole(path: Path) -> None:
    study = read_study(path)
    assert len(study.seeds) >= 3
    found = plan(dataclasses.replace(study, seeds=study.seeds[:1]), Path("out"), path=path)
    assert len(found) == len(study.methods) * len(study.tasks)
    assert len({to_yaml(dataclasses.replace(cell.config, output=None)) for cell in found}) == len(found), "some are the same"


def test_there_are_studies_for_every_table_of_the_paper() -> None:
    assert {path.stem for path in STUDIES} >= {"superglue", "qa", "nli", "structure", "multi-task", "ablations"}
    assert {"VIP-C", "VIP-Q", "no skip", "PT"} <= read_study(STUDIES[0]).methods.keys()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"tasks": ["superglue/bc"]}, "superglue/bc, PT: task=superglue/bc: is unknown"),
        ({"base": {"optimizer.steps": 0}}, "superglue/cb, PT: optimizer.steps=0 must be at least 1"),
        ({"axes": {"vip.prompt_length": [0]}}, "superglue/cb, PT, vip.prompt_length=0: "),
        ({"config": "gone.yaml"}, "superglue/cb, PT: "),
        ({"methods": {"PT": {}, "m" * 201: {}}}, "'mmmm"),
        ({"methods": {"PT": {}, "P/T": {}, "P-T": {}}}, "superglue/cb, P/T, seed 0 and superglue/cb, P-T, seed 0 would share"),
    ],
)
def test_what_is_wrong_in_a_run_is_named_with_the_run(write: Write, values: dict[str, Any], reason: str) -> None:
    path = write(**values)
    with pytest.raises(UserError) as caught:
        cells(path)
    assert str(caught.value).startswith(f"{path}: {reason}")
    assert len(str(caught.value).splitlines()) == 1


def test_a_finished_run_is_known_and_one_with_other_settings_refused(write: Write, tmp_path: Path) -> None:
    def first(*flags: str) -> Cell:
        return plan(read_study(write()), tmp_path, flags)[0]

    cell = first()
    assert not cell.is_finished()
    cell.path.mkdir(parents=True)
    (cell.path / "config.yaml").write_text(to_yaml(cell.config), encoding="utf-8")
    assert not cell.is_finished()
    (cell.path / "results.json").write_text(json.dumps({}), encoding="utf-8")
    assert cell.is_finished()
    assert first("--checkpoint.keep=3", "--engine.micro_batch_size=2").is_finished()
    for flag, was in (("optimizer.steps=5", "600"), ("data_dir=elsewhere", "None"), ("backbone=other", "bundled")):
        with pytest.raises(UserError) as caught:
            first(f"--{flag}").is_finished()
        assert f"seed-0: is a finished run with {flag.partition('=')[0]}={was}, it cannot go on with {flag};" in str(
            caught.value
        )
    for content, reason in (("", "holds NoneType"), ("task: superglue/cb", "of an earlier release, without")):
        (cell.path / "config.yaml").write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=reason):
            cell.is_finished()
