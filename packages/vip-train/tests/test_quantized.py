"""Backbones in 8 and 4 bits, on the CPU; DeepSpeed has them in test_deepspeed.py."""

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from vip_core import ContextualizerConfig, QuantizerConfig, VIPConfig, VIPPrompt
from vip_train.adapter import load_adapter
from vip_train.backbones import BUNDLED, Backbone, fingerprint, load_backbone
from vip_train.config import CheckpointConfig, EngineConfig, OptimizerConfig, TrainConfig
from vip_train.data import Batch
from vip_train.engine import build_engine
from vip_train.errors import UserError
from vip_train.model import VIPModel
from vip_train.quantized import Int8Linear
from vip_train.tasks import Example
from vip_train.tokenised import TokenisedSplit
from vip_train.training import train
from vip_train.world import World

LACKS = [name for name in ("bitsandbytes", "accelerate") if importlib.util.find_spec(name) is None]
INSTALLED = pytest.mark.skipif(bool(LACKS), reason=f"needs vip-train[quantized]: {', '.join(LACKS)} is not installed")
PRECISIONS = ["int8", pytest.param("nf4", marks=INSTALLED)]
# It imports parts of torch that torch itself calls outdated.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
ALONE = World(rank=0, size=1, device=torch.device("cpu"))
SMALL = VIPConfig(
    prompt_length=3,
    contextualizer=ContextualizerConfig(width=8, layers=1, heads=2, feedforward=16),
    quantizer=QuantizerConfig(codes=7, draws=4, warmup_steps=1),
)
Settings = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def batch() -> Batch:
    rows = [Example(f"Question: {name} has a ball. Who has it?", name, "") for name in ("Anna", "Ben", "Carla", "David")]
    return TokenisedSplit(rows, load_backbone().tokenizer, 480).batch(range(len(rows)))


def learn(backbone: Backbone, batch: Batch) -> tuple[list[float], Tensor, VIPModel]:
    """Losses of three steps, the first gradient of the static tokens, and the model."""
    torch.manual_seed(0)
    model = VIPModel(backbone.model, VIPPrompt(SMALL, backbone.model.get_input_embeddings().weight)).train()
    torch.manual_seed(1)
    (gradient,) = torch.autograd.grad(model(*batch).loss, [model.prompt.prompt_PD])
    engine = build_engine(model, OptimizerConfig(), EngineConfig(), ALONE, deepspeed=False)
    losses = []
    for _ in range(3):
        output = engine.forward(*batch)
        losses.append(float(output.nll_B.detach().mean()))
        engine.step(output.loss)
    return losses, gradient, model


@pytest.mark.parametrize(("precision", "bits", "near"), [("int8", 8, 0.98), pytest.param("nf4", 4, 0.8, marks=INSTALLED)])
def test_a_quantised_backbone_teaches_nearly_what_the_whole_one_does(
    precision: Any, bits: int, near: float, batch: Batch, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = load_backbone(BUNDLED, precision=precision)
    losses, gradient, model = learn(backbone, batch)
    expected, whole_gradient, whole = learn(load_backbone(), batch)
    assert losses == pytest.approx(expected, rel=0.1)
    assert losses[-1] < losses[0]
    assert torch.cosine_similarity(gradient.flatten(), whole_gradient.flatten(), dim=0) > near
    for name, tensor in model.prompt.state_dict().items():
        assert tensor.dtype in (torch.float32, torch.int64), name
    assert {value.dtype for value in model.prompt.parameters()} == {torch.float32}
    again = load_backbone(BUNDLED, precision=precision).model.state_dict()
    for name, value in backbone.model.state_dict().items():
        assert torch.equal(value, again[name]), name
    query, original = (found.encoder.block[0].layer[0].SelfAttention.q.weight for found in (backbone.model, whole.backbone))
    assert query.numel() * query.element_size() * 8 == original.numel() * bits
    assert not caplog.records


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_quantised_backbone_is_told_by_the_weights_it_came_from(
    precision: Any, tiny_backbone: Path, backbone: Backbone
) -> None:
    found = load_backbone(str(tiny_backbone), precision=precision).model
    assert fingerprint(found) == fingerprint(backbone.model)
    assert not any(parameter.requires_grad for parameter in found.parameters())
    assert not any(module.training for module in found.modules())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_layers_of_a_quantised_backbone_can_be_recomputed(precision: Any, batch: Batch) -> None:
    found = []
    for recomputes in (False, True):
        backbone = load_backbone(BUNDLED, precision=precision)
        torch.manual_seed(0)
        model = VIPModel(backbone.model, VIPPrompt(SMALL, backbone.model.get_input_embeddings().weight)).train()
        if recomputes:
            model.recompute_layers()
        found.append(torch.autograd.grad(model(*batch).loss, [model.prompt.prompt_PD])[0])
    assert torch.equal(*found)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_run_trains_evaluates_continues_and_its_adapter_fits_the_whole_backbone(
    precision: Any, settings: Settings, tmp_path: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(output=tmp_path / "run", precision=precision, checkpoint=CheckpointConfig(every=1))
    with monkeypatch.context() as patch:
        patch.setattr("vip_train.training._Run._finish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(config)
    with pytest.raises(UserError, match=f"holds a run with precision={precision}, it cannot go on with precision=fp32"):
        train(dataclasses.replace(config, precision="fp32"))
    train(config)
    adapters = [
        load_adapter(tmp_path / "run" / "adapter", backbone=backbone),
        load_adapter(tmp_path / "run" / "adapter", precision=precision),
    ]
    assert adapters[0].config == adapters[1].config


def test_without_the_library_it_is_named(tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        UserError, match=r"^precision=nf4: bitsandbytes is not installed; pip install 'vip-train\[quantized\]'$"
    ):
        load_backbone(str(tiny_backbone), precision="nf4")


def test_a_sharded_backbone_is_not_quantised(tiny_backbone: Path) -> None:
    with pytest.raises(UserError, match=r"^precision=int8: needs engine.zero_stage 0, 1 or 2"):
        load_backbone(str(tiny_backbone), precision="int8", sharded={})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_and_gradients_are_those_of_the_rounded_weight(dtype: torch.dtype) -> None:
    layer = Int8Linear(3 * torch.randn(7, 5))
    rounded_OI = (layer.weight.float() * layer.scale_O[:, None]).to(dtype)
    one, other = (torch.randn(2, 3, 5, generator=torch.manual_seed(0)).to(dtype).requires_grad_() for _ in range(2))
    found, expected = layer(one), torch.nn.functional.linear(other, rounded_OI)
    limits = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 3e-2, "atol": 3e-2}
    torch.testing.assert_close(found, expected, **limits)
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(one.grad, other.grad, rtol=10 * limits["rtol"], atol=10 * limits["atol"])


# Of torch's own making, as it traces one.
@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.*should not be instantiated:DeprecationWarning")
def test_a_layer_compiles_whole() -> None:
    layer, inputs = Int8Linear(torch.randn(7, 5)), torch.randn(4, 5, requires_grad=True)
    torch._dynamo.reset()
    found = torch.compile(layer, backend="eager", fullgraph=True)(inputs)
    torch._dynamo.reset()
    torch.testing.assert_close(found, layer(inputs))
    assert torch.autograd.grad(found.sum(), [inputs])[0].shape == inputs.shape


def test_weights_are_rounded_to_the_nearest_step_of_their_row() -> None:
    weight_OI = torch.cat([torch.randn(6, 9) * torch.logspace(-3, 3, 6)[:, None], torch.zeros(1, 9)])
    layer = Int8Linear(weight_OI)
    error_OI = (layer.weight.float() * layer.scale_O[:, None] - weight_OI).abs()
    assert (error_OI <= 0.5001 * layer.scale_O[:, None]).all()
    assert (layer.weight[:-1].abs().amax(1) == 127).all()
    assert torch.isfinite(layer(torch.randn(2, 9))).all()


def test_a_layer_keeps_no_more_for_the_way_back_than_its_8_bits() -> None:
    layer, kept = Int8Linear(torch.randn(64, 32)), []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        layer(torch.randn(5, 32, requires_grad=True))
    assert sorted(tensor.numel() * tensor.element_size() for tensor in kept) == [4 * 64, 64 * 32]


def test_a_text_is_read_alike_whatever_is_beside_it(batch: Batch) -> None:
    model = VIPModel(
        load_backbone(precision="int8").model, VIPPrompt(SMALL, load_backbone().model.get_input_embeddings().weight)
    ).eval()
    with torch.no_grad():
        together = model(*batch).nll_B
        alone = torch.cat([model(*part).nll_B for part in batch.parts(1)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
