"""The backbone's layers computed again on the way back, and compiled: what is learned stays the same."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from transformers import T5ForConditionalGeneration
from vip_train.backbones import Backbone, load_backbone
from vip_train.data import encode_answers, encode_sources
from vip_train.model import VIPModel

METHODS = ["vip", "vip-c", "vip-q", "pt"]
WORDS = ("ba", "milotura", "ke lo")
Build = Callable[..., VIPModel]


# --- layers computed again ---


def saved_bytes(model: VIPModel, *batch: Tensor) -> int:
    """What autograd keeps of a training forward, without the frozen weights that are there anyway."""
    frozen = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in frozen:
            found[storage.data_ptr()] = storage.nbytes()
        kept.append(tensor)  # or its place in memory is given to the next
        return tensor

    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(*batch)
    return sum(found.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
def test_gradients_and_codes_are_bitwise_the_same_when_layers_are_recomputed(
    method: str, precision: Any, build: Build, tiny_backbone: Path, source: tuple[Tensor, Tensor], labels: Tensor
) -> None:
    one, other = (
        VIPModel(load_backbone(str(tiny_backbone), precision=precision).model, build(method=method).prompt).train()
        for _ in range(2)
    )
    other.recompute_layers()
    for step in range(3):
        found = []
        for model in (one, other):
            torch.manual_seed(step)
            output = model(*source, labels)
            output.loss.backward()
            found.append(output)
        assert torch.equal(found[0].logit_BTV, found[1].logit_BTV)
        for (name, parameter), same in zip(one.prompt.named_parameters(), other.prompt.parameters(), strict=True):
            assert parameter.grad is not None
            assert torch.equal(parameter.grad, same.grad), name  # type: ignore[arg-type]
        for name, value in one.prompt.state_dict().items():
            assert torch.equal(value, other.prompt.state_dict()[name]), name
        if other.prompt.quantizer is not None:
            assert other.prompt.quantizer.codebook.steps == step + 1, "one update, not one more going backwards"
    assert saved_bytes(other, *source, labels) < saved_bytes(one, *source, labels)


def test_recomputing_switches_with_training_and_evaluation_keeps_its_cache(
    build: Build, tiny_backbone: Path, source: tuple[Tensor, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    model = VIPModel(load_backbone(str(tiny_backbone)).model, build().prompt).train()
    expected = model.generate(*source, max_new_tokens=4)
    model.recompute_layers()
    assert model.backbone.training
    assert torch.equal(model.generate(*source, max_new_tokens=4), expected)
    assert model.backbone.training
    assert not model.eval().backbone.training
    assert not caplog.records


def test_recomputing_with_dropout_is_refused(build: Build, tiny_backbone: Path) -> None:
    raw = T5ForConditionalGeneration.from_pretrained(tiny_backbone, dropout_rate=0.1)
    with pytest.raises(ValueError, match=r"^backbone: has dropout_rate=0\.1, load it with dropout_rate=0\.0"):
        VIPModel(raw, build().prompt).recompute_layers()


# --- compiled ---


@pytest.fixture
def _nothing_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


# torch hides this warning of its own by a hook that is not asked where warnings are errors.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.usefixtures("_nothing_compiled")
@pytest.mark.parametrize("recomputes", [False, True])
def test_a_compiled_backbone_teaches_the_same_without_compiling_at_each_step(
    recomputes: bool, build: Build, tiny_backbone: Path, backbone: Backbone, texts: list[str]
) -> None:
    """The backend runs the captured graph operator by operator; test_engine.py has one real compilation."""
    one, other = (VIPModel(load_backbone(str(tiny_backbone)).model, build().prompt).train() for _ in range(2))
    counter = CompileCounterWithBackend("eager")
    other.compile_backbone(backend=counter, fullgraph=True)
    if recomputes:
        other.recompute_layers()
    for step in range(6):
        sources = encode_sources(texts[: 2 + step % 3], backbone.tokenizer, 20 + step)
        labels = encode_answers([WORDS[row % 3] for row in range(len(sources.input_ids))], backbone.tokenizer)
        for model in (one, other):
            torch.manual_seed(step)
            model.zero_grad()
            model(sources.input_ids, sources.attention_mask, labels).loss.backward()
        for (name, parameter), same in zip(one.prompt.named_parameters(), other.prompt.parameters(), strict=True):
            torch.testing.assert_close(same.grad, parameter.grad, rtol=1e-3, atol=1e-4, msg=name)
    assert counter.frame_count <= 3
    torch.testing.assert_close(other.prompt.state_dict(), one.prompt.state_dict(), rtol=1e-3, atol=1e-4)
    before = counter.frame_count
    assert torch.equal(*(model.generate(sources.input_ids, sources.attention_mask, max_new_tokens=4) for model in (one, other)))
    assert counter.frame_count == before, "writing is not compiled"
