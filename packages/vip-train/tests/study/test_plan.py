"""Which runs follow from a study file, and what is refused in one."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vip_train.config import to_yaml
from vip_train.errors import UserError
from vip_train.study.plan import Cell, plan, read_study

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
        ({"methods": {}}, "key 'methods' is missing or empty"),
        ({"seeds": []}, "key 'seeds' is missing or empty"),
        ({"tasks": [1]}, "tasks must be a list of names"),
        ({"seeds": [True]}, "seeds must be a list of whole numbers"),
        ({"seeds": [0, 0]}, "seeds=[0, 0] must be different"),
        ({"methods": ["PT"]}, "methods must be settings by name"),
        ({"methods": {"PT": 3}}, "methods.PT must be settings by name"),
        ({"axes": {"vip.prompt_length": 3}}, "axes.vip.prompt_length must be a list of values"),
        ({"axes": {"vip.prompt_length": [3, 3]}}, "axes.vip.prompt_length must be a list of different single values"),
        ({"axes": {"vip": [{"prompt_length": 3}]}}, "axes.vip must be a list of different single values"),
        ({"baseline": "FT"}, "baseline=FT must be one of the methods PT, VIP"),
        ({"colour": 3}, "key 'colour' is unknown, known are config, base, methods, tasks, seeds, axes, baseline"),
        ({"config": 3}, "config=3 must be the name of a file"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(write: Write, values: dict[str, Any], reason: str) -> None:
    path = write(**values)
    with pytest.raises(UserError) as caught:
        read_study(path)
    assert str(caught.value) == f"{path}: {reason}"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"tasks": ["superglue/bc"]}, "superglue/bc, PT: task=superglue/bc: is unknown"),
        ({"methods": {"PT": {"vip.methud": "pt"}}}, "superglue/cb, PT: "),
        ({"base": {"optimizer.steps": 0}}, "superglue/cb, PT: optimizer.steps=0 must be at least 1"),
        ({"axes": {"vip.prompt_length": [0]}}, "superglue/cb, PT, vip.prompt_length=0: "),
        ({"seeds": [-1]}, "superglue/cb, PT: optimizer.seed=-1 must be"),
        ({"config": "gone.yaml"}, "superglue/cb, PT: "),
        ({"methods": {"PT": {}, "P/T": {}, "P-T": {}}}, "superglue/cb, P/T, seed 0 and superglue/cb, P-T, seed 0 would share"),
    ],
)
def test_what_is_wrong_in_a_run_is_named_with_the_run(write: Write, values: dict[str, Any], reason: str) -> None:
    path = write(**values)
    with pytest.raises(UserError) as caught:
        cells(path)
    assert str(caught.value).startswith(f"{path}: {reason}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "\x00", "3"])
def test_what_is_no_study_is_refused(tmp_path: Path, content: str) -> None:
    (path := tmp_path / "x.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"x\.yaml: "):
        read_study(path)
    with pytest.raises(UserError, match="no such file"):
        read_study(tmp_path / "gone.yaml")


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
    assert first("--data-dir=elsewhere", "--checkpoint.keep=3").is_finished()
    with pytest.raises(UserError, match=r"seed-0: was finished with optimizer\.steps=600, now it is 5"):
        first("--optimizer.steps=5").is_finished()
