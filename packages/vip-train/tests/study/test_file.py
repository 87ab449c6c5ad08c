"""What a study file may say, and what is refused in one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vip_train.errors import UserError
from vip_train.study.file import read_study

Write = Callable[..., Path]


def test_settings_are_nested_or_have_dots_or_both(write: Write) -> None:
    study = read_study(write(base={"vip": {"quantizer.codes": 3, "prompt-length": 4}, "vip.quantizer": {"draws": 5}}))
    assert study.base == {"vip.quantizer.codes": "3", "vip.prompt_length": "4", "vip.quantizer.draws": "5"}
    assert (study.methods, study.tasks, study.seeds) == ({"PT": {"vip.method": "pt"}, "VIP": {}}, {"superglue/cb": {}}, (0, 1))
    assert (study.config, study.axes, study.baseline) == (None, {}, "PT")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"methods": {}}, "key 'methods' is missing or empty"),
        ({"seeds": []}, "key 'seeds' is missing or empty"),
        ({"tasks": [["forms"]]}, "tasks must be a list of single values"),
        ({"tasks": ["forms", "forms"]}, "tasks=['forms', 'forms'] must be different"),
        ({"tasks": "forms"}, "tasks must be settings by name"),
        ({"tasks": {"": {}}}, "tasks: '' is no name"),
        ({"methods": {"a\nb": {}}}, "methods: 'a\\nb' is no name"),
        ({"seeds": [-1]}, "seeds must be a list of whole numbers from 0 on"),
        ({"seeds": [0, 0]}, "seeds=[0, 0] must be different"),
        ({"methods": ["PT"]}, "methods must be settings by name"),
        ({"methods": {"PT": 3}}, "methods.PT must be settings by name"),
        ({"axes": {"vip.prompt_length": 3}}, "axes.vip.prompt_length must be a list of single values"),
        ({"axes": {"vip.prompt_length": [3, 3]}}, "axes.vip.prompt_length=['3', '3'] must be different"),
        ({"axes": {"vip": [{"prompt_length": 3}]}}, "axes.vip must be settings by name"),
        ({"axes": {"vip.prompt_length": [3], "vip.prompt-length": [4]}}, "axes: vip.prompt_length comes twice"),
        ({"axes": {"optimizer.seed": [1, 2]}}, "axes: optimizer.seed is made by the study, seeds says which"),
        ({"methods": {"PT": {"output": "x"}}}, "methods.PT: output is made by the study, --output says which"),
        ({"methods": {"PT": {"task": "forms"}}}, "methods.PT: task chooses the data, which is for base and tasks to say"),
        (
            {"methods": {"PT": {"max_train_examples": 9}}},
            "methods.PT: max_train_examples chooses the data, which is for base and tasks to say",
        ),
        (
            {"axes": {"max_validation_examples": [9]}},
            "axes: max_validation_examples chooses the data, which is for base and tasks to say",
        ),
        ({"methods": {"PT": {"vip.methud": "pt"}}}, "methods.PT.vip.methud is no setting of a run"),
        ({"methods": {"PT": {"print_config": ""}}}, "methods.PT.print_config is no setting of a run"),
        ({"base": {"optimizer": None}}, "base.optimizer must be settings by name"),
        ({"base": {"vip.skip": "no", "vip": {"skip": "no"}}}, "base: vip.skip comes twice"),
        ({"baseline": "FT"}, "baseline=FT must be one of the methods PT, VIP"),
        (
            {"colour": 3},
            "key 'colour' is unknown, known are config, base, methods, tasks, seeds, axes, baseline, search_seeds, score",
        ),
        ({"config": [3]}, "config=['3'] must be a name"),
        ({"baseline": ["PT"]}, "baseline=['PT'] must be a name"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(write: Write, values: dict[str, Any], reason: str) -> None:
    path = write(**values)
    with pytest.raises(UserError) as caught:
        read_study(path)
    assert str(caught.value) == f"{path}: {reason}"


@pytest.mark.parametrize(
    "content", ["[1, 2]", "a: [", "\x00", "3", "seeds: [1]\nseeds: [2]", "base: &a {b: *a}", "base: {vip.skip: !!binary x}"]
)
def test_what_is_no_study_is_refused(tmp_path: Path, content: str) -> None:
    (path := tmp_path / "x.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"x\.yaml: "):
        read_study(path)
    with pytest.raises(UserError, match="no such file"):
        read_study(tmp_path / "gone.yaml")


def test_the_number_of_training_examples_may_be_an_axis(write: Write) -> None:
    assert read_study(write(axes={"max_train_examples": [16, 64]})).axes == {"max_train_examples": ("16", "64")}
