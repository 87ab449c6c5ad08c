"""The two ways to run a training step: plain torch (one process, or several under torchrun) and DeepSpeed ZeRO.

Both take the same model, the same optimizer and the same calls, so there is one training loop. Accelerate was tried for this
and sees every rank as a world of its own when DeepSpeed runs on CPUs; see docs/decisions.md.
"""

import os
import sys
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from vip_train.config import EngineConfig, OptimizerConfig
from vip_train.errors import UserError
from vip_train.model import VIPModel, VIPOutput


@dataclass(frozen=True)
class World:
    """This process among the others."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Each value summed over all processes."""
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.size > 1:
            dist.all_reduce(total)
        return [float(value) for value in total]

    def sum_(self, tensor: Tensor) -> Tensor:
        """A tensor summed over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor


class Engine(Protocol):
    """One optimizer step at a time."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> VIPOutput:
        """A forward pass that `step` can follow."""

    def step(self, loss: Tensor) -> None:
        """Gradients of `loss` averaged over processes, clipped, applied and cleared."""


class TorchEngine:
    """Plain torch; DistributedDataParallel when there are several processes."""

    def __init__(self, model: VIPModel, optimizer: torch.optim.Optimizer, config: OptimizerConfig, world: World) -> None:
        self._model = model
        self._optimizer = optimizer
        self._clip = config.clip_norm
        # The codebook keeps itself in step over ranks, so DDP need not copy buffers.
        self._forward = DistributedDataParallel(model, broadcast_buffers=False) if world.size > 1 else model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> VIPOutput:
        """See `Engine`."""
        output: VIPOutput = self._forward(input_ids, attention_mask, labels)
        return output

    def step(self, loss: Tensor) -> None:
        """See `Engine`."""
        loss.backward()
        if self._clip:
            torch.nn.utils.clip_grad_norm_(self._model.prompt.parameters(), self._clip)
        self._optimizer.step()
        self._optimizer.zero_grad()


class DeepSpeedEngine:
    """DeepSpeed ZeRO. The backbone is held in its own dtype by us, so all that DeepSpeed trains is in fp32."""

    def __init__(
        self, model: VIPModel, optimizer: torch.optim.Optimizer, config: OptimizerConfig, world: World, zero_stage: int
    ) -> None:
        import deepspeed

        self._engine: Any
        self._engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=optimizer,
            config={
                "train_micro_batch_size_per_gpu": config.batch_size // world.size,
                "gradient_accumulation_steps": 1,
                "gradient_clipping": config.clip_norm,
                "zero_optimization": {"stage": zero_stage},
                "zero_allow_untested_optimizer": True,
            },
        )
        for name, buffer in model.prompt.named_buffers():
            if buffer.is_floating_point() and buffer.dtype != torch.float32:
                raise RuntimeError(f"DeepSpeed cast the buffer {name} to {buffer.dtype}; deepspeed>=0.19.3 does not")

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> VIPOutput:
        """See `Engine`."""
        output: VIPOutput = self._engine(input_ids, attention_mask, labels)
        return output

    def step(self, loss: Tensor) -> None:
        """See `Engine`."""
        self._engine.backward(loss)
        self._engine.step()


def uses_deepspeed(config: EngineConfig, *, launched_by_deepspeed: bool) -> bool:
    """Whether DeepSpeed runs the step."""
    return config.name == "deepspeed" or (config.name == "auto" and launched_by_deepspeed)


def join_world(*, deepspeed: bool) -> World:
    """Joins the processes a launcher started, or stands alone.

    Raises:
        UserError: DeepSpeed is wanted and not installed.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if deepspeed:
        try:
            import deepspeed as library
        except ImportError as error:
            raise UserError("engine=deepspeed: DeepSpeed is not installed; pip install 'vip-train[deepspeed]'") from error
        for name, value in {
            "RANK": "0",
            "WORLD_SIZE": "1",
            "LOCAL_RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "0",
        }.items():
            os.environ.setdefault(name, value)
        library.init_distributed()
    elif size > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(rank, size, device)


def leave_world() -> None:
    """Says goodbye to the other processes, so that none waits for this one."""
    if not dist.is_initialized():
        return
    library = sys.modules.get("deepspeed")
    if library is not None and library.comm.is_initialized():
        library.comm.destroy_process_group()  # its caches of groups go too, so that another run in this process may follow
    else:
        dist.destroy_process_group()


def build_engine(model: VIPModel, config: OptimizerConfig, engine: EngineConfig, world: World, *, deepspeed: bool) -> Engine:
    """An engine over the prompt's two parameter groups.

    Raises:
        UserError: Adafactor with a ZeRO stage that flattens parameters.
    """
    groups = [
        {"name": "prompt", "params": model.prompt.prompt_parameters(), "lr": config.prompt_learning_rate},
        {
            "name": "contextualizer",
            "params": model.prompt.contextualizer_parameters(),
            "lr": config.contextualizer_learning_rate,
        },
    ]
    groups = [group for group in groups if group["params"]]
    if config.name == "adafactor":
        if deepspeed and engine.zero_stage > 0:
            raise UserError(
                f"optimizer.name=adafactor: needs engine.zero_stage=0; at {engine.zero_stage} ZeRO flattens what it factors"
            )
        optimizer: torch.optim.Optimizer = torch.optim.Adafactor(groups)
    else:
        optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    if deepspeed:
        return DeepSpeedEngine(model, optimizer, config, world, engine.zero_stage)
    return TorchEngine(model, optimizer, config, world)
