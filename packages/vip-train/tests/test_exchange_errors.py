"""What is no soft prompt, or no place to write one, is said in one line that names the file; a pickle is never read."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from vip_train.adapter import load_adapter
from vip_train.backbones import Backbone
from vip_train.cli import main
from vip_train.errors import UserError
from vip_train.exchange import export_to_peft, import_soft_prompt
from vip_train.model import VIPModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def refusal(path: Path, backbone: Backbone, named: Path | None = None) -> str:
    with pytest.raises(UserError) as caught:
        import_soft_prompt(path, backbone)
    message = str(caught.value)
    assert message.startswith(f"{named or path}: ")
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("peft_type", "LORA"),
        ("peft_type", "P_TUNING"),
        ("peft_type", "MULTITASK_PROMPT_TUNING"),
        ("peft_type", None),
        ("task_type", "CAUSAL_LM"),
        ("task_type", None),
        ("num_virtual_tokens", 0),
        ("num_virtual_tokens", "5"),
        ("num_virtual_tokens", True),
        ("num_transformer_submodules", 3),
        ("num_transformer_submodules", True),
    ],
)
def test_a_field_of_another_kind_is_named(field: str, value: object, foreign: Path, backbone: Backbone) -> None:
    found = json.loads((foreign / CONFIG).read_text(encoding="utf-8"))
    (foreign / CONFIG).write_text(json.dumps(found | {field: value}), encoding="utf-8")
    assert f"{field}={value!r}" in refusal(foreign, backbone, foreign / CONFIG)


def test_an_adapter_of_ours_is_none_of_theirs(saved: Path, backbone: Backbone) -> None:
    assert "peft_type=None" in refusal(saved, backbone, saved / CONFIG)


@pytest.mark.parametrize("text", ["[" * 100_000, "", "{", "[]", "\xff"])
def test_a_broken_configuration_is_named(text: str, foreign: Path, backbone: Backbone) -> None:
    (foreign / CONFIG).write_bytes(text.encode("latin-1"))
    refusal(foreign, backbone, foreign / CONFIG)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(name: str, foreign: Path, backbone: Backbone) -> None:
    (foreign / name).unlink()
    assert "no such file" in refusal(foreign, backbone, foreign / name)


class Trap:
    """What a pickle can do: run code when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_is_never_read(foreign: Path, backbone: Backbone, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    (foreign / WEIGHTS).unlink()
    (foreign / "adapter_model.bin").write_bytes(pickle.dumps(Trap(sprung)))
    assert "is a pickle" in refusal(foreign, backbone, foreign / "adapter_model.bin")
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Trap(sprung)))
    assert "pickle" in refusal(tmp_path / "raw.npy", backbone)
    np.save(tmp_path / "objects.npy", np.array([Trap(sprung)]), allow_pickle=True)
    assert "pickle" in refusal(tmp_path / "objects.npy", backbone)
    assert not sprung.exists()


WEIGHTS_THAT_DO_NOT_FIT: dict[str, tuple[dict[str, Tensor], str]] = {
    "too few rows": ({"prompt_embeddings": torch.zeros(5, 32)}, "10 rows"),
    "another width": ({"prompt_embeddings": torch.zeros(10, 16)}, "the prompt is 16 wide"),
    "one axis": ({"prompt_embeddings": torch.zeros(10)}, "(10,)"),
    "whole numbers": ({"prompt_embeddings": torch.zeros(10, 32, dtype=torch.int64)}, "int64"),
    "another name": ({"embedding.weight": torch.zeros(10, 32)}, "embedding.weight"),
    "more tensors": ({"prompt_embeddings": torch.zeros(10, 32), "head": torch.zeros(1)}, "head, prompt_embeddings"),
    "no tensors": ({}, "nothing"),
    "not finite": ({"prompt_embeddings": torch.full((10, 32), float("nan"))}, "not finite"),
}


@pytest.mark.parametrize("kind", WEIGHTS_THAT_DO_NOT_FIT)
def test_weights_that_do_not_fit_are_named(kind: str, foreign: Path, backbone: Backbone) -> None:
    state, said = WEIGHTS_THAT_DO_NOT_FIT[kind]
    save_file(state, foreign / WEIGHTS)
    assert said in refusal(foreign, backbone, foreign / WEIGHTS)


def test_truncated_weights_are_named(foreign: Path, backbone: Backbone) -> None:
    (foreign / WEIGHTS).write_bytes((foreign / WEIGHTS).read_bytes()[:-9])
    refusal(foreign, backbone, foreign / WEIGHTS)


ARRAYS = {
    "three axes": np.zeros((1, 7, 32), np.float32),
    "whole numbers": np.zeros((7, 32), np.int64),
    "no rows": np.zeros((0, 32), np.float32),
    "another width": np.zeros((7, 16), np.float32),
    "not finite": np.full((7, 32), np.inf, np.float32),
    "bf16, which numpy does not know": np.zeros((7, 32), np.dtype("V2")),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_that_is_no_prompt_is_named(kind: str, backbone: Backbone, tmp_path: Path) -> None:
    np.save(tmp_path / "prompt.npy", ARRAYS[kind])
    refusal(tmp_path / "prompt.npy", backbone)


def test_a_file_that_is_no_array_is_named(backbone: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "prompt.npy"
    assert "no such file" in refusal(path, backbone)
    for content in (b"", b"PK\x03\x04", b"\x93NUMPY", b"text"):
        path.write_bytes(content)
        refusal(path, backbone)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000)}\n"  # 4 PB
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    refusal(path, backbone)
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))
    refusal(path, backbone)


@pytest.mark.parametrize("method", ["vip", "vip-c", "vip-q"])
def test_only_a_soft_prompt_is_exported(
    method: str, build: Callable[..., VIPModel], backbone: Backbone, tmp_path: Path
) -> None:
    build(method=method).save_pretrained(tmp_path / "adapter", backbone=backbone.name)
    with pytest.raises(UserError, match=f"method={method}: only 'pt'"):
        export_to_peft(load_adapter(tmp_path / "adapter", backbone=backbone), tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_a_folder_in_use_is_kept(build: Callable[..., VIPModel], backbone: Backbone, foreign: Path, tmp_path: Path) -> None:
    build(method="pt").save_pretrained(tmp_path / "adapter", backbone=backbone.name)
    before = {path.name: path.read_bytes() for path in foreign.iterdir()}
    with pytest.raises(UserError, match="already holds files"):
        export_to_peft(load_adapter(tmp_path / "adapter", backbone=backbone), foreign)
    assert {path.name: path.read_bytes() for path in foreign.iterdir()} == before


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--prompt", "/nowhere/prompt.npy"], "/nowhere/prompt.npy: no such file"),
        (["--prompt", "/nowhere/folder"], "/nowhere/folder: is neither a folder"),
        (["--prompt", "mia/soft"], "mia/soft: is no folder, and cannot be had from the hub: HF_HUB_OFFLINE is set"),
        (["--prompt", ".", "--task", "superglue/xyz"], "task=superglue/xyz: is unknown"),
        (["--prompt", ".", "--output", "/dev/null"], "/dev/null: is there already"),
        (["--prompt", ".", "--colour", "red"], "colour"),
        ([], "prompt"),
    ],
)
def test_a_mistake_in_a_command_is_one_line(
    flags: list[str], said: str, tiny_backbone: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", "--output", str(tmp_path / "new"), "--backbone", str(tiny_backbone), *flags]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("vip-train: ")
    assert said in line
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("length", [-1, 0, 1])
def test_a_source_length_that_training_would_refuse_is_refused_by_the_command(
    length: int, foreign: Path, tiny_backbone: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = ["--prompt", str(foreign), "--backbone", str(tiny_backbone), "--output", str(tmp_path / "ours")]
    assert main(["import", *flags, "--max-source-length", str(length)]) == 2
    assert capfd.readouterr().err == f"vip-train: max_source_length={length} must be at least 2\n"
    assert not (tmp_path / "ours").exists()
