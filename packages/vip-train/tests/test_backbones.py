"""Loading, freezing and telling backbones apart, and what is said of what is none."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, T5ForConditionalGeneration
from vip_train.backbones import BUNDLED, Backbone, backbone_dtype, backbone_folder, fingerprint, load_backbone
from vip_train.errors import UserError

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_a_backbone_is_frozen_in_evaluation_and_named(backbone: Backbone, tiny_backbone: Path) -> None:
    assert backbone.name == str(tiny_backbone)
    assert not any(module.training for module in backbone.model.modules())
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert {parameter.dtype for parameter in backbone.model.parameters()} == {torch.float32}


def test_dtypes() -> None:
    assert backbone_dtype("auto", CPU) == backbone_dtype("fp32", GPU) == torch.float32
    assert backbone_dtype("auto", GPU) == backbone_dtype("bf16", CPU) == torch.bfloat16


def test_fp16_is_refused_with_the_reason(tiny_backbone: Path) -> None:
    with pytest.raises(UserError, match="precision=fp16: T5 overflows"):
        load_backbone(str(tiny_backbone), precision="fp16")


def test_fingerprints_do_not_depend_on_the_precision(backbone: Backbone, tiny_backbone: Path) -> None:
    half = load_backbone(str(tiny_backbone), precision="bf16").model
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    assert fingerprint(half) == fingerprint(backbone.model)


def test_fingerprints_of_weights_trained_in_fp32_do_not_depend_on_the_precision(backbone: Backbone, tmp_path: Path) -> None:
    other = T5ForConditionalGeneration(backbone.model.config)
    other.save_pretrained(tmp_path)
    backbone.tokenizer.save_pretrained(tmp_path)
    found = {fingerprint(load_backbone(str(tmp_path), precision=precision).model) for precision in ("fp32", "bf16")}
    assert len(found) == 1
    assert found != {fingerprint(backbone.model)}


def test_one_changed_weight_changes_the_fingerprint(tiny_backbone: Path) -> None:
    model = load_backbone(str(tiny_backbone)).model
    before = fingerprint(model)
    assert fingerprint(model) == before
    names = [name for name, _ in model.named_parameters()]
    for name in (names[0], names[-1]):
        weight = model.get_parameter(name)
        kept = weight.detach().clone()
        weight.view(-1)[-1] += 1
        assert fingerprint(model) != before, name
        weight.copy_(kept)
    assert fingerprint(model) == before


def refusal(name: str | Path) -> str:
    """The one line that says why there is no such backbone."""
    with pytest.raises(UserError) as caught:
        load_backbone(str(name))
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert len(message.splitlines()) == 1
    return message


@pytest.fixture
def copy(tiny_backbone: Path, tmp_path: Path) -> Path:
    """A copy of the tiny backbone to be damaged."""
    return shutil.copytree(tiny_backbone, tmp_path / "copy")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nothing")


def test_no_name_is_no_backbone() -> None:
    with pytest.raises(UserError, match="backbone: must be a folder, a hub id or bundled"):
        load_backbone("")


def test_a_name_that_is_neither_folder_nor_on_the_hub_is_named() -> None:
    refusal("nobody/no-such-model")


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    refusal(tmp_path)


def test_a_model_that_is_no_t5_is_named_and_nothing_else_said(
    backbone: Backbone, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = BertConfig(vocab_size=300, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    BertModel(config).save_pretrained(tmp_path)
    backbone.tokenizer.save_pretrained(tmp_path)
    capfd.readouterr()
    refusal(tmp_path)
    assert capfd.readouterr().err == ""


def rewrite_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def drop_a_weight(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state["encoder.block.0.layer.0.SelfAttention.q.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a weight is missing": drop_a_weight,
    "weights are truncated": lambda folder: truncate(folder / "model.safetensors"),
    "weights are missing": lambda folder: (folder / "model.safetensors").unlink(),
    "the configuration is missing": lambda folder: (folder / "config.json").unlink(),
    "the configuration is truncated": lambda folder: truncate(folder / "config.json"),
    "the configuration has another width": lambda folder: rewrite_config(folder, d_model=64),
    "the configuration has another depth": lambda folder: rewrite_config(folder, num_layers=2),
    "the configuration has a value of another type": lambda folder: rewrite_config(folder, d_model="wide"),
    "the tokenizer is missing": lambda folder: (folder / "tokenizer.json").unlink(),
    "the tokenizer is truncated": lambda folder: truncate(folder / "tokenizer.json"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_named_and_nothing_else_said(damage: str, copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    DAMAGE[damage](copy)
    capfd.readouterr()
    refusal(copy)
    assert capfd.readouterr().err == ""


def test_nothing_is_left_loaded_in_another_precision(tiny_backbone: Path) -> None:
    load_backbone(str(tiny_backbone), precision="bf16")
    assert torch.get_default_dtype() == torch.float32


def test_the_bundled_backbone_is_small_bf16_and_documented() -> None:
    folder = Path(backbone_folder(BUNDLED))
    assert (folder / "model.safetensors").stat().st_size <= 8_000_000
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    card = (folder / "README.md").read_text(encoding="utf-8")
    for fact in ("license:", "SHA-256", "held-out loss", "vip-train pretrain"):
        assert fact in card


def test_the_bundled_backbone_loads_without_a_network(execute: Callable[..., object]) -> None:
    script = (
        "import socket\n"
        "def refuse(*_): raise AssertionError('the network was asked')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from vip_train import load_backbone\n"
        "found = load_backbone()\n"
        "print(found.name, found.tokenizer.eos_token_id, found.model.config.model_type)"
    )
    # HF_HUB_OFFLINE is left at its default: a user need not set it.
    run = execute(sys.executable, "-c", script, HF_HUB_OFFLINE="0")
    assert run.stdout.splitlines()[-1:] == ["bundled 1 t5"], run.stderr


def test_attention_is_torchs_own_and_equals_the_written_out_one(
    tiny_backbone: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    real = torch.nn.functional.scaled_dot_product_attention

    def counted(*given: Any, **more: Any) -> torch.Tensor:
        calls.append(1)
        return real(*given, **more)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    written = T5ForConditionalGeneration.from_pretrained(tiny_backbone, dtype=torch.float32, attn_implementation="eager").eval()
    found, counts = [], []
    for model in (backbone.model, written):
        torch.manual_seed(0)
        embeds = torch.randn(2, 9, 32, requires_grad=True)
        mask, labels = torch.tensor([[1] * 9, [1] * 5 + [0] * 4]), torch.tensor([[5, 6, 1], [7, 8, 1]])
        output = model(inputs_embeds=embeds, attention_mask=mask, labels=labels)
        output.loss.backward()
        found.append((output.logits.detach(), embeds.grad))
        counts.append(len(calls))
    assert counts == [3, 3], "an encoder layer, a decoder layer that attends twice, and none of the other model"
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_dropout_is_off_also_in_training_mode(backbone: Backbone, tmp_path: Path) -> None:
    config = type(backbone.model.config).from_dict(backbone.model.config.to_dict() | {"dropout_rate": 0.3})
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    backbone.tokenizer.save_pretrained(tmp_path)
    model = load_backbone(str(tmp_path)).model
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        one, other = (model.train(mode)(input_ids=ids, decoder_input_ids=ids).logits for mode in (True, False))
    assert torch.equal(one, other)
