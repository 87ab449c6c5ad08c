"""What is wrong with an adapter folder, or with the backbone it is loaded for, is said in one line that names the file."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from vip_train.adapter import load_adapter
from vip_train.backbones import Backbone, load_backbone
from vip_train.errors import UserError
from vip_train.pretrain.loop import ShapeConfig, build_model

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def refusal(folder: Path, named: Path | None = None, backbone: Backbone | str | None = None) -> str:
    """The one line that says why an adapter cannot be loaded; it names `named`, or else the folder."""
    with pytest.raises(UserError) as caught:
        load_adapter(folder, backbone=backbone)
    message = str(caught.value)
    assert message.startswith(f"{named or folder}: ")
    assert len(message.splitlines()) == 1
    return message


def rewrite(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    fields = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    change(fields)
    (folder / CONFIG).write_text(json.dumps(fields), encoding="utf-8")


LEVELS = {"the whole": (), "vip": ("vip",), "contextualizer": ("vip", "contextualizer"), "quantizer": ("vip", "quantizer")}


def at(fields: dict[str, object], path: tuple[str, ...]) -> dict[str, object]:
    for name in path:
        fields = fields[name]  # type: ignore[assignment]
    return fields


@pytest.mark.parametrize("level", LEVELS)
def test_an_unknown_field_is_named(level: str, saved: Path, backbone: Backbone) -> None:
    rewrite(saved, lambda fields: at(fields, LEVELS[level]).update(colour="red"))
    assert "colour" in refusal(saved, saved / CONFIG, backbone)


@pytest.mark.parametrize("level", LEVELS)
def test_each_missing_field_is_named(level: str, saved: Path, backbone: Backbone) -> None:
    """Also one that has a default: guessing it would change results in silence."""
    whole = (saved / CONFIG).read_text(encoding="utf-8")
    for name in at(json.loads(whole), LEVELS[level]):
        (saved / CONFIG).write_text(whole, encoding="utf-8")
        rewrite(saved, lambda fields, name=name: at(fields, LEVELS[level]).pop(name))  # type: ignore[misc]
        assert name in refusal(saved, saved / CONFIG, backbone)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_version_is_named(version: object, saved: Path, backbone: Backbone) -> None:
    rewrite(saved, lambda fields: fields.update(format_version=version))
    assert f"format_version={version!r}" in refusal(saved, saved / CONFIG, backbone)


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ((), "vip", None),
        ((), "vip", []),
        ((), "dim", "32"),
        ((), "dim", None),
        ((), "answers", "yes"),
        ((), "answers", [1, 2]),
        ((), "answers", None),
        ((), "max_source_length", "48"),
        ((), "backbone", 3),
        ((), "task", None),
        (("vip",), "prompt_length", "3"),
        (("vip",), "prompt_length", 0),
        (("vip",), "skip", "no"),
        (("vip",), "quantizer", []),
        (("vip", "quantizer"), "codes", -1),
        (("vip", "quantizer"), "evaluation", "guess"),
        (("vip", "contextualizer"), "width", "8"),
    ],
)
def test_a_field_of_another_type_or_range_is_an_error_of_its_file(
    path: tuple[str, ...], name: str, value: object, saved: Path, backbone: Backbone
) -> None:
    rewrite(saved, lambda fields: at(fields, path).update({name: value}))
    assert name in refusal(saved, saved / CONFIG, backbone)


@pytest.mark.parametrize("text", ["[" * 100_000, "", "{", "[]", "3", "null", '{"format_version": 1}', "\xff"])
def test_a_broken_configuration_is_an_error_of_its_file(text: str, saved: Path, backbone: Backbone) -> None:
    (saved / CONFIG).write_bytes(text.encode("latin-1"))
    refusal(saved, saved / CONFIG, backbone)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(name: str, saved: Path, backbone: Backbone) -> None:
    (saved / name).unlink()
    refusal(saved, saved / name, backbone)


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    refusal(tmp_path / "nothing", tmp_path / "nothing" / CONFIG)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_weights_are_named(share: float, saved: Path, backbone: Backbone) -> None:
    whole = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(whole[: int(share * len(whole))])
    refusal(saved, saved / WEIGHTS, backbone)


CHANGES: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "a tensor is missing": lambda state: state.pop("contextualizer.up.bias"),
    "a tensor is unknown": lambda state: state.update(extra=torch.zeros(1)),
    "a tensor is larger": lambda state: state.update(prompt_PD=torch.zeros(4, 32)),
    "a tensor would broadcast": lambda state: state.update(prompt_PD=torch.zeros(1, 32)),
    "a tensor is not finite": lambda state: state.update(prompt_PD=torch.full((3, 32), float("nan"))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_do_not_fit_are_named(change: str, saved: Path, backbone: Backbone) -> None:
    state = load_file(saved / WEIGHTS)
    CHANGES[change](state)
    save_file(state, saved / WEIGHTS)
    refusal(saved, saved / WEIGHTS, backbone)


def test_a_backbone_of_other_weights_is_refused(saved: Path, tiny_backbone: Path) -> None:
    other = load_backbone(str(tiny_backbone))
    other.model.shared.weight.view(-1)[7] += 1
    assert "the weights of" in refusal(saved, backbone=other)


def test_a_backbone_of_another_width_is_refused(saved: Path, backbone: Backbone) -> None:
    wide = build_model(ShapeConfig(vocabulary=300, width=64, heads=2, feedforward=64, encoder_layers=1, decoder_layers=1))
    message = refusal(saved, backbone=Backbone(wide, backbone.tokenizer, "wide"))
    assert "32" in message
    assert "64" in message


def test_a_recorded_backbone_that_is_gone_is_named(saved: Path, tmp_path: Path) -> None:
    rewrite(saved, lambda fields: fields.update(backbone=str(tmp_path / "gone")))
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "gone"))):
        load_adapter(saved)


def test_fp16_is_refused(saved: Path) -> None:
    with pytest.raises(UserError, match="precision=fp16"):
        load_adapter(saved, precision="fp16")
