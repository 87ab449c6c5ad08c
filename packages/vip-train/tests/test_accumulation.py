"""A batch taken in parts against the same batch taken at once; several processes do the same in test_deepspeed.py."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import vip_core.quantizer
from safetensors.torch import load_file
from torch import Tensor
from vip_core import ContextualizerConfig, QuantizerConfig
from vip_train.accumulation import Taken, take
from vip_train.backbones import Backbone
from vip_train.config import CheckpointConfig, EngineConfig, OptimizerConfig, TrainConfig
from vip_train.data import Batch
from vip_train.engine import Engine, TorchEngine, build_engine
from vip_train.errors import UserError
from vip_train.model import VIPModel, VIPOutput
from vip_train.tasks import Example
from vip_train.tokenised import TokenisedSplit
from vip_train.training import train
from vip_train.world import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
WORDS = ("ba", "milotura", "ke lo", "sendor vil")
CALM = {
    "contextualizer": ContextualizerConfig(width=8, layers=1, heads=2, feedforward=16, dropout=0.0),
    "quantizer": QuantizerConfig(codes=7, draws=4, warmup_steps=2),
}
"""Without dropout, which is drawn part by part."""
METHODS = ["pt", "vip-c", "vip-q", "vip"]
Build = Callable[..., VIPModel]
Settings = Callable[..., TrainConfig]


@pytest.fixture
def batch(backbone: Backbone) -> Batch:
    """32 texts and targets of many lengths."""
    rows = [Example(f"Bake {'milo tura ' * (row % 7)}{row * row}.", WORDS[row % 4], "") for row in range(32)]
    return TokenisedSplit(rows, backbone.tokenizer, 480).batch(range(32))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training selects codes as evaluation does: draws are made part by part, so they differ."""
    real = vip_core.quantizer.choose
    monkeypatch.setattr(vip_core.quantizer, "choose", lambda logit_NK, _, *rest: real(logit_NK, "expected", *rest))


class Kept:
    """An engine that keeps the gradients of its last step, and how many rows each forward had."""

    def __init__(self, model: VIPModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model = model
        self.engine: Engine = build_engine(model, OptimizerConfig(), EngineConfig(), ALONE, deepspeed=False)
        self.rows: list[int] = []
        self.gradients: dict[str, Tensor] = {}
        forward, clip = self.engine.forward, torch.nn.utils.clip_grad_norm_

        def counted(input_ids: Tensor, *rest: Tensor) -> VIPOutput:
            self.rows.append(len(input_ids))
            return forward(input_ids, *rest)

        def kept(parameters: Any, most: float) -> Tensor:
            self.gradients = {name: value.grad.clone() for name, value in model.prompt.named_parameters()}  # type: ignore[union-attr]
            return clip(parameters, most)

        monkeypatch.setattr(self.engine, "forward", counted)
        self._patch = lambda: monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", kept)

    def step(self, batch: Batch, size: int | None) -> Taken:
        self._patch()
        taken = take(self.engine, batch, ALONE.device, micro_batch_size=size)
        self.engine.step(taken.loss)
        return taken


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor], **limits: float) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        if not name.endswith("self_attn.in_proj_bias"):  # the bias of keys: see test_deepspeed.py
            torch.testing.assert_close(value, other[name], **limits, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("size", [8, 5])
@pytest.mark.parametrize("method", METHODS)
def test_parts_teach_what_the_whole_batch_does(
    method: str, size: int, build: Build, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = dict(CALM)
    if method == "vip-q":
        # A few static tokens and more codes: an automatic τ goes down to 1e-5, where rounding says which of two codes is taken.
        calm["quantizer"] = dataclasses.replace(CALM["quantizer"], temperature=1.0)
    whole = Kept(build(method=method, **calm).train(), monkeypatch)
    parts = Kept(build(method=method, **calm).train(), monkeypatch)
    for step in range(5):
        torch.manual_seed(step)
        expected = whole.step(batch, None)
        torch.manual_seed(step)
        found = parts.step(batch, size)
        torch.testing.assert_close(found.nll_B, expected.nll_B, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.commitment, expected.commitment, rtol=1e-4, atol=1e-5)
        if step == 0:
            assert parts.gradients
            assert_close(parts.gradients, whole.gradients, rtol=1e-3, atol=1e-5)
    assert whole.rows == [32] * 5
    assert parts.rows == 5 * ([8] * 4 if size == 8 else [5] * 6 + [2])
    # AdamW makes a full step of a gradient that is rounding noise, which the codes then follow.
    assert_close(parts.model.prompt.state_dict(), whole.model.prompt.state_dict(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [None, 8, 5, 32, 99])
def test_the_codebook_learns_once_a_step(size: int | None, build: Build, batch: Batch) -> None:
    model = build(**CALM).train()
    engine = build_engine(model, OptimizerConfig(), EngineConfig(), ALONE, deepspeed=False)
    assert model.prompt.quantizer is not None
    codebook = model.prompt.quantizer.codebook
    for step in range(1, 4):
        codes = codebook.code_KD.clone()
        taken = take(engine, batch, ALONE.device, micro_batch_size=size)
        assert codebook.steps == step
        assert torch.equal(codebook.code_KD, codes) is (step == 1), "the second step ends the warm-up"
        assert taken.weight_BPK.shape[1:] == (3, 7)
        engine.step(taken.loss)


def test_all_at_once_is_the_plain_step_bit_for_bit(build: Build, batch: Batch) -> None:
    one, other = build(**CALM).train(), build(**CALM).train()
    engines = [build_engine(model, OptimizerConfig(), EngineConfig(), ALONE, deepspeed=False) for model in (one, other)]
    for step in range(4):
        torch.manual_seed(step)
        engines[0].step(take(engines[0], batch, ALONE.device).loss)
        torch.manual_seed(step)
        engines[1].step(engines[1].forward(*batch).loss)
    for name, value in one.prompt.state_dict().items():
        assert torch.equal(value, other.prompt.state_dict()[name]), name


def test_an_error_in_a_part_leaves_nothing_to_the_next_step(
    build: Build, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(**CALM).train()
    engine = build_engine(model, OptimizerConfig(), EngineConfig(), ALONE, deepspeed=False)
    monkeypatch.setattr(engine, "backward", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        take(engine, batch, ALONE.device, micro_batch_size=8)
    seen: list[int] = []
    assert model.prompt.quantizer is not None
    codebook = model.prompt.quantizer.codebook
    real = codebook.learn_
    monkeypatch.setattr(codebook, "learn_", lambda held, rest: (seen.append(len(held.vector_ND)), real(held, rest)))
    take(engine, batch, ALONE.device)
    assert seen == [32 * 3]
    assert codebook.steps == 1


# --- whole runs ---


def in_parts(config: TrainConfig, size: int | None, **values: Any) -> TrainConfig:
    return dataclasses.replace(config, engine=EngineConfig(micro_batch_size=size), **values)


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("method", ["pt", "vip-c"])
def test_a_run_in_parts_is_the_run_at_once(method: Any, settings: Settings, tmp_path: Path) -> None:
    config = settings()
    config = dataclasses.replace(config, vip=dataclasses.replace(config.vip, method=method))
    for name, size in (("whole", None), ("parts", 3)):
        train(in_parts(config, size, output=tmp_path / name))
    assert_close(weights(tmp_path / "parts"), weights(tmp_path / "whole"), rtol=1e-3, atol=1e-4)
    for found, expected in zip(metrics(tmp_path / "parts"), metrics(tmp_path / "whole"), strict=True):
        assert found["train_nll"] == pytest.approx(expected["train_nll"], rel=1e-4)
        assert found["validation_nll"] == pytest.approx(expected["validation_nll"], rel=1e-4)


def test_codes_count_the_steps_of_the_run(settings: Settings, tmp_path: Path) -> None:
    train(in_parts(settings(steps=3), 2, output=tmp_path / "run"))
    assert weights(tmp_path / "run")["quantizer.codebook.steps"] == 3


class Broken(BaseException):
    """Stands for kill -9."""


@pytest.mark.parametrize("after", [3, None, 5])
def test_a_killed_run_goes_on_also_in_other_parts(
    after: int | None, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(steps=5, checkpoint=CheckpointConfig(every=2))
    config = dataclasses.replace(config, vip=dataclasses.replace(config.vip, method="vip" if after == 3 else "vip-c"))
    train(in_parts(config, 3, output=tmp_path / "whole"))
    with monkeypatch.context() as patch:
        real = TorchEngine.backward
        calls: list[int] = []

        def backward(self: TorchEngine, loss: Tensor) -> None:
            calls.append(1)
            if len(calls) == 8:  # the second part of the fourth step
                raise Broken
            real(self, loss)

        patch.setattr(TorchEngine, "backward", backward)
        with pytest.raises(Broken):
            train(in_parts(config, 3, output=tmp_path / "run"))
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000002"]
    train(in_parts(config, after, output=tmp_path / "run"))
    found, expected = weights(tmp_path / "run"), weights(tmp_path / "whole")
    if after == 3:
        assert all(torch.equal(value, expected[name]) for name, value in found.items())
    else:
        assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_loss_that_is_not_finite_in_one_part_is_refused_with_all_examples(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = in_parts(settings(steps=3, checkpoint=CheckpointConfig(every=1)), 3, output=tmp_path / "run")
    real, taken, forwards = TorchEngine.step, [], []
    forward, poison = TorchEngine.forward, []

    def poisoned(self: TorchEngine, *batch: Tensor) -> VIPOutput:
        forwards.append(1)
        output = forward(self, *batch)
        if len(forwards) != 4:
            return output
        poison.append(batch[0])  # of parts of 3, 3 and 2 rows the first part of the second step
        return output._replace(nll_B=output.nll_B * float("nan"))

    def step(self: TorchEngine, loss: Tensor) -> None:
        taken.append(1)
        real(self, loss)

    monkeypatch.setattr(TorchEngine, "forward", poisoned)
    monkeypatch.setattr(TorchEngine, "step", step)
    with pytest.raises(UserError, match="the loss is not finite at step 2"):
        train(config)
    assert len(taken) == 1, "the second step is not taken"
    rows = json.loads((tmp_path / "run" / "not-finite-step-00000002.json").read_text(encoding="utf-8"))["batch"]
    assert [row["nll"] == "nan" for row in rows] == [True] * 3 + [False] * 5
    assert len({row["example"] for row in rows}) == 8
    for row, ids_S in zip(rows[:3], poison[0].tolist(), strict=True):
        assert row["source_ids"] == ids_S[: len(row["source_ids"])]
