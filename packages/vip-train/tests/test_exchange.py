"""Soft prompts of PEFT and google-research: PEFT's own answers are ours, both ways, and what is no soft prompt is refused."""

import json
import pickle
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from vip_train.adapter import Adapter, load_adapter
from vip_train.backbones import Backbone
from vip_train.cli import main
from vip_train.data import encode_answers, encode_sources
from vip_train.errors import UserError
from vip_train.exchange import export_to_peft, import_soft_prompt
from vip_train.model import VIPModel
from vip_train.predict import predict
from vip_train.tasks import get_task

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# PEFT 0.21 asks transformers 5.23 by an older name.
THEIRS = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
WRITING = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}


@pytest.fixture
def peft() -> Any:
    """The library; a copy of the backbone goes with it, for it changes the model it is given."""
    return pytest.importorskip("peft", reason="peft is not installed: nothing to compare with")


@pytest.fixture
def source(backbone: Backbone, texts: list[str]) -> tuple[Tensor, Tensor]:
    found = encode_sources(texts, backbone.tokenizer, 480)
    assert (found.attention_mask == 0).any()
    return found.input_ids, found.attention_mask


@pytest.fixture
def soft(build: Callable[..., VIPModel], trained: Callable[..., VIPModel], talkative: Backbone, tmp_path: Path) -> Adapter:
    """A soft prompt of ours."""
    model = VIPModel(talkative.model, trained(build(method="pt", prompt_length=5)).prompt)
    model.save_pretrained(tmp_path / "soft", backbone=talkative.name)
    return load_adapter(tmp_path / "soft", backbone=talkative)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A PEFT folder as PEFT lays it out: ten rows, of which an encoder reads five."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    save_file({"prompt_embeddings": torch.randn(10, 32)}, folder / WEIGHTS)
    config = {
        "peft_type": "PROMPT_TUNING",
        "task_type": "SEQ_2_SEQ_LM",
        "base_model_name_or_path": "t5",
        "num_virtual_tokens": 5,
        "num_transformer_submodules": 2,
        "token_dim": 32,
        "prompt_tuning_init": "RANDOM",
        "some_field_of_tomorrow": None,
    }
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    return folder


def same_answers(theirs: Any, ours: VIPModel, source: tuple[Tensor, Tensor], backbone: Backbone) -> None:
    """Logits and written text of PEFT's model are ours."""
    labels = encode_answers(["ba", "milotura", "ke lo", "ba"], backbone.tokenizer)
    with torch.no_grad():
        expected = theirs(input_ids=source[0], attention_mask=source[1], labels=labels).logits
        found = ours(*source, labels).logit_BTV
        bare = ours.backbone(input_ids=source[0], attention_mask=source[1], labels=labels).logits
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, bare, atol=1e-2), "the prompt changes nothing: this would show nothing"
    written = theirs.generate(input_ids=source[0], attention_mask=source[1], **WRITING)
    assert torch.equal(ours.generate(*source, **WRITING), written)


# --- PEFT ---


@THEIRS
@pytest.mark.parametrize("parts", [None, 1, 2])
def test_a_prompt_that_peft_saved_answers_as_in_peft(
    parts: int | None, peft: Any, talkative: Backbone, source: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    config = peft.PromptTuningConfig(
        task_type="SEQ_2_SEQ_LM", num_virtual_tokens=5, num_transformer_submodules=parts, prompt_tuning_init="RANDOM"
    )
    theirs = peft.get_peft_model(deepcopy(talkative.model), config).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    assert len(load_file(tmp_path / "theirs" / WEIGHTS)["prompt_embeddings"]) == 5 * (parts or 2)
    adapter = import_soft_prompt(tmp_path / "theirs", talkative, answers=("ba", "ke lo"))
    assert (adapter.config.vip.method, adapter.config.vip.prompt_length) == ("pt", 5)
    same_answers(theirs, adapter.model, source, talkative)


@THEIRS
def test_an_exported_prompt_answers_in_peft_as_here(
    peft: Any, soft: Adapter, talkative: Backbone, source: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    export_to_peft(soft, tmp_path / "export")
    theirs = peft.PeftModel.from_pretrained(deepcopy(talkative.model), str(tmp_path / "export")).eval()
    same_answers(theirs, soft.model, source, talkative)


@THEIRS
def test_an_exported_prompt_that_peft_saved_again_comes_back(
    peft: Any, soft: Adapter, talkative: Backbone, tmp_path: Path
) -> None:
    export_to_peft(soft, tmp_path / "export")
    peft.PeftModel.from_pretrained(deepcopy(talkative.model), str(tmp_path / "export")).save_pretrained(tmp_path / "again")
    again = import_soft_prompt(tmp_path / "again", talkative)
    assert torch.equal(again.model.prompt.prompt_PD, soft.model.prompt.prompt_PD)


def test_the_encoder_reads_the_first_rows(foreign: Path, backbone: Backbone) -> None:
    adapter = import_soft_prompt(foreign, backbone)
    assert torch.equal(adapter.model.prompt.prompt_PD, load_file(foreign / WEIGHTS)["prompt_embeddings"][:5])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_as_fp32(dtype: torch.dtype, foreign: Path, backbone: Backbone) -> None:
    rows = torch.randn(10, 32).to(dtype)
    save_file({"prompt_embeddings": rows}, foreign / WEIGHTS)
    found = import_soft_prompt(foreign, backbone).model.prompt.prompt_PD
    assert found.dtype == torch.float32
    assert torch.equal(found, rows[:5].float())


def test_what_is_exported_comes_back(soft: Adapter, talkative: Backbone, tmp_path: Path) -> None:
    export_to_peft(soft, str(tmp_path / "export"))
    assert {path.name for path in (tmp_path / "export").iterdir()} == {CONFIG, WEIGHTS}
    again = import_soft_prompt(str(tmp_path / "export"), talkative)
    assert torch.equal(again.model.prompt.prompt_PD, soft.model.prompt.prompt_PD)
    assert json.loads((tmp_path / "export" / CONFIG).read_text())["base_model_name_or_path"] == talkative.name


def test_the_bundled_backbone_has_no_name_elsewhere(soft: Adapter, tmp_path: Path) -> None:
    from dataclasses import replace

    export_to_peft(soft._replace(config=replace(soft.config, backbone="bundled")), tmp_path / "export")
    assert json.loads((tmp_path / "export" / CONFIG).read_text())["base_model_name_or_path"] is None


def test_an_imported_prompt_is_an_adapter_as_any_other(
    foreign: Path, tiny_backbone: Path, texts: list[str], tmp_path: Path
) -> None:
    torch.manual_seed(4)
    adapter = import_soft_prompt(foreign, str(tiny_backbone), task="superglue/cb", answers=("ba", "ke lo"), max_source_length=9)
    assert torch.initial_seed() == 4
    adapter.save_pretrained(tmp_path / "ours")
    again = load_adapter(tmp_path / "ours")
    assert again.config == adapter.config
    assert (again.config.task, again.config.answers, again.config.max_source_length) == ("superglue/cb", ("ba", "ke lo"), 9)
    expected = [found.probability for found in predict(adapter, texts)]
    assert [found.probability for found in predict(again, texts)] == expected


# --- google-research ---


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_a_prompt_of_google_research_is_read(dtype: Any, backbone: Backbone, tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(7, 32)).astype(dtype)
    np.save(tmp_path / "prompt.npy", array)
    adapter = import_soft_prompt(tmp_path / "prompt.npy", backbone)
    assert adapter.config.vip.prompt_length == 7
    assert np.array_equal(adapter.model.prompt.prompt_PD.detach().numpy(), array.astype(np.float32))


# --- refusals ---


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


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
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


def test_a_folder_in_use_is_kept(soft: Adapter, foreign: Path) -> None:
    before = {path.name: path.read_bytes() for path in foreign.iterdir()}
    with pytest.raises(UserError, match="already holds files"):
        export_to_peft(soft, foreign)
    assert {path.name: path.read_bytes() for path in foreign.iterdir()} == before


def test_both_ways_are_commands(foreign: Path, tiny_backbone: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    flags = ["--backbone", str(tiny_backbone), "--task", "superglue/cb", "--max-source-length", "64"]
    assert main(["import", "--prompt", str(foreign), "--output", str(ours), *flags]) == 0
    assert capfd.readouterr().out == f"adapter {ours}\n"
    config = load_adapter(ours).config
    assert (config.answers, config.max_source_length) == (tuple(get_task("superglue/cb").answers.values()), 64)
    assert main(["export", "--adapter", str(ours), "--output", str(theirs)]) == 0
    assert capfd.readouterr().out == f"PEFT folder {theirs}\n"
    rows = load_file(foreign / WEIGHTS)["prompt_embeddings"]
    assert torch.equal(load_file(theirs / WEIGHTS)["prompt_embeddings"], rows[:5])


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
