"""The two ways to run a training step: plain torch (one process, or several under torchrun) and DeepSpeed ZeRO.

Both take the same model, the same optimizer and the same calls, so there is one training loop. Accelerate was tried for this
and sees every rank as a world of its own when DeepSpeed runs on CPUs; see docs/decisions.md.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from vip_train.config import EngineConfig, OptimizerConfig
from vip_train.errors import UserError
from vip_train.fine_tuning import WholeBackbone
from vip_train.model import VIPModel, VIPOutput
from vip_train.world import World


class Engine(Protocol):
    """One optimizer step at a time."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> VIPOutput:
        """A forward pass that `step` can follow."""

    def set_learning_rates(self, rates: dict[str, float]) -> dict[str, float]:
        """Sets the rates of the parameter groups for the steps that follow; returns those of the groups there are."""

    def adding(self) -> AbstractContextManager[None]:
        """For all parts of a batch but the last: forwards and `backward` inside it add up to what `step` then does once."""

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of a part's `loss`, inside `adding`."""

    def step(self, loss: Tensor) -> None:
        """Gradients of `loss` and of the parts before averaged over processes, clipped, applied and cleared."""

    def optimizer_state(self) -> dict[str, Tensor]:
        """Copies of the whole optimizer state as `<key>/<parameter>`, the same for every engine. Every process has to ask."""

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        """Goes on from what any engine's `optimizer_state` gave, before the first step. Every process has to call it."""


class TorchEngine:
    """Plain torch; DistributedDataParallel when there are several processes."""

    def __init__(self, model: VIPModel, optimizer: torch.optim.Optimizer, config: OptimizerConfig, world: World) -> None:
        self._model = model
        self._optimizer = optimizer
        self._clip = config.clip_norm
        # The codebook keeps itself in step over ranks, so DDP need not copy buffers.
        self._parallel = DistributedDataParallel(model, broadcast_buffers=False) if world.size > 1 else None

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> VIPOutput:
        """See `Engine`."""
        output: VIPOutput = (self._parallel or self._model)(input_ids, attention_mask, labels)
        return output

    def set_learning_rates(self, rates: dict[str, float]) -> dict[str, float]:
        """See `Engine`."""
        return set_learning_rates(self._optimizer, rates)

    @contextmanager
    def adding(self) -> Iterator[None]:
        """See `Engine`."""
        with self._model.prompt.held(), self._parallel.no_sync() if self._parallel is not None else nullcontext():
            yield

    def backward(self, loss: Tensor) -> None:
        """See `Engine`."""
        loss.backward()

    def step(self, loss: Tensor) -> None:
        """See `Engine`."""
        loss.backward()
        if self._clip:
            torch.nn.utils.clip_grad_norm_(self._model.prompt.parameters(), self._clip)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def optimizer_state(self) -> dict[str, Tensor]:
        """See `Engine`."""
        return unpartitioned_state(self._model, self._optimizer)

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        """See `Engine`."""
        load_unpartitioned_state(self._model, self._optimizer, state)


def set_learning_rates(optimizer: torch.optim.Optimizer, rates: dict[str, float]) -> dict[str, float]:
    """Gives each group of an optimizer the rate of its name; returns these."""
    for group in optimizer.param_groups:
        group["lr"] = rates[group["name"]]
    return {group["name"]: group["lr"] for group in optimizer.param_groups}


def unpartitioned_state(model: VIPModel, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimizer that holds the prompt's own parameters, as `Engine.optimizer_state` gives it."""
    return {
        f"{key}/{name}": value.detach().cpu().clone()
        for name, parameter in model.prompt.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def load_unpartitioned_state(model: VIPModel, optimizer: torch.optim.Optimizer, state: dict[str, Tensor]) -> None:
    """Puts it back."""
    parameters = dict(model.prompt.named_parameters())
    for path, value in state.items():
        key, _, name = path.partition("/")
        parameter = parameters[name]
        # torch counts steps on the CPU wherever the parameter is.
        optimizer.state[parameter][key] = value.clone() if key == "step" else value.to(parameter.device, copy=True)


def uses_deepspeed(config: EngineConfig, *, launched_by_deepspeed: bool) -> bool:
    """Whether DeepSpeed runs the step."""
    return config.name == "deepspeed" or (config.name == "auto" and launched_by_deepspeed)


def check_compiler(setting: str) -> None:
    """Refuses a setting that wants torch.compile where its compiler is not installed.

    Raises:
        UserError: it is not.
    """
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")  # what torch.compile runs
    if shutil.which(compiler) is None:
        raise UserError(f"{setting}: needs the C++ compiler {compiler}, which is not installed; CXX may name another")


def check_engine(config: OptimizerConfig, engine: EngineConfig, *, deepspeed: bool) -> None:
    """Refuses what the engine cannot do, before anything is loaded.

    Raises:
        UserError: Adafactor with a ZeRO stage that flattens parameters, or offload or compilation that cannot work.
    """
    if engine.compile:
        check_compiler("engine.compile")
        if deepspeed and engine.zero_stage == 3:
            raise UserError("engine.compile: needs engine.zero_stage 0, 1 or 2; stage 3 gathers weights as layers are called")
    if not deepspeed:
        if engine.offload != "none":
            raise UserError(f"engine.offload={engine.offload}: needs DeepSpeed; plain torch keeps all where it trains")
        return
    if config.name == "adafactor" and engine.zero_stage > 0:
        raise UserError(
            f"optimizer.name=adafactor: needs engine.zero_stage=0; at {engine.zero_stage} ZeRO flattens what it factors"
        )
    if engine.offload == "nvme":
        from deepspeed.ops.op_builder import AsyncIOBuilder

        if engine.nvme_path is None or not engine.nvme_path.is_dir():
            raise UserError(f"engine.nvme_path={engine.nvme_path}: no such folder")
        if not AsyncIOBuilder().is_compatible(verbose=False):
            raise UserError("engine.offload=nvme: DeepSpeed cannot build async_io here; install libaio-dev")


def build_engine(model: VIPModel, config: OptimizerConfig, engine: EngineConfig, world: World, *, deepspeed: bool) -> Engine:
    """An engine over the prompt's two parameter groups, or over the backbone in full fine-tuning.

    Raises:
        UserError: see `check_engine`.
    """
    check_engine(config, engine, deepspeed=deepspeed)
    groups = [
        {"name": "prompt", "params": model.prompt.prompt_parameters(), "lr": config.prompt_learning_rate},
        {
            "name": "contextualizer",
            "params": model.prompt.contextualizer_parameters(),
            "lr": config.contextualizer_learning_rate,
        },
    ]
    if isinstance(model.prompt, WholeBackbone):
        groups = [{"name": "backbone", "params": list(model.prompt.parameters()), "lr": config.backbone_learning_rate}]
    groups = [group for group in groups if group["params"]]
    if engine.gradient_checkpointing:
        model.recompute_layers()
    if engine.compile:
        model.compile_backbone()
    adafactor = config.name == "adafactor"
    optimizer = torch.optim.Adafactor(groups) if adafactor else torch.optim.AdamW(groups, weight_decay=0.0)
    if deepspeed:
        from vip_train.zero import DeepSpeedEngine

        return DeepSpeedEngine(model, optimizer, config, engine, world)
    return TorchEngine(model, optimizer, config, world)
