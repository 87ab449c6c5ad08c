"""DeepSpeed ZeRO as an engine, and our settings in DeepSpeed's words.

DeepSpeed's own checkpoints are not used: they hold aliases of the frozen vocabulary, do not load on another number of processes
and go wrong in silence with optimizer state on NVMe. See `vip_train.checkpoint` for ours.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import deepspeed
import torch
from deepspeed.utils import safe_get_full_fp32_param, safe_set_full_fp32_param, safe_set_local_fp32_param
from torch import Tensor

from vip_train.config import EngineConfig, OptimizerConfig
from vip_train.engine import load_unpartitioned_state, set_learning_rates, unpartitioned_state
from vip_train.model import VIPModel, VIPOutput
from vip_train.world import World

_MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW, the only optimizer above stage 0


def deepspeed_config(optimizer: OptimizerConfig, engine: EngineConfig, world: World) -> dict[str, Any]:
    """What `deepspeed.initialize` is given. Clipping is always said, because DeepSpeed clips at 1.0 when it is not."""
    zero: dict[str, Any] = {"stage": engine.zero_stage}
    if engine.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if engine.offload == "cpu" and engine.zero_stage == 3:
        zero["offload_param"] = {"device": "cpu"}
    if engine.offload == "nvme":
        zero["offload_param"] = {"device": "nvme", "nvme_path": str(engine.nvme_path)}
    share = optimizer.batch_size // world.size
    micro_batch_size = min(engine.micro_batch_size or share, share)
    return {
        "train_micro_batch_size_per_gpu": micro_batch_size,
        "gradient_accumulation_steps": -(-share // micro_batch_size),
        "gradient_clipping": optimizer.clip_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # a few hundred thousand parameters need no compiled Adam
    }


def loading_config(optimizer: OptimizerConfig, engine: EngineConfig, world: World, dtype: torch.dtype) -> dict[str, Any] | None:
    """What the backbone is loaded under: at stage 3 DeepSpeed's configuration with the backbone's own dtype, else None."""
    if engine.zero_stage != 3:
        return None
    return deepspeed_config(optimizer, engine, world) | {"bf16": {"enabled": dtype == torch.bfloat16}}


class DeepSpeedEngine:
    """DeepSpeed ZeRO. The backbone is held in its own dtype by us, so all that DeepSpeed trains is in fp32."""

    def __init__(
        self, model: VIPModel, optimizer: torch.optim.Optimizer, config: OptimizerConfig, engine: EngineConfig, world: World
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._stage = engine.zero_stage
        self._world = world
        self._engine: Any
        self._engine, *_ = deepspeed.initialize(
            model=model, optimizer=optimizer, config=deepspeed_config(config, engine, world)
        )
        for name, buffer in model.prompt.named_buffers():
            if buffer.is_floating_point() and buffer.dtype != torch.float32:
                raise RuntimeError(f"DeepSpeed cast the buffer {name} to {buffer.dtype}; deepspeed>=0.19.3 does not")

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> VIPOutput:
        """See `Engine`."""
        output: VIPOutput = self._engine(input_ids, attention_mask, labels)
        return output

    def set_learning_rates(self, rates: dict[str, float]) -> dict[str, float]:
        """See `Engine`."""
        # ZeRO swaps what is in the groups of this very optimizer and steps it with them, at every stage.
        return set_learning_rates(self._optimizer, rates)

    def adding(self) -> AbstractContextManager[None]:
        """See `Engine`. DeepSpeed counts parts itself, by `gradient_accumulation_steps`."""
        return self._model.prompt.held()

    def backward(self, loss: Tensor) -> None:
        """See `Engine`."""
        # Losses come weighted by their share of the batch; DeepSpeed would divide them by the number of parts as well.
        self._engine.backward(loss, scale_wrt_gas=False)
        self._engine.step()  # clears, clips and steps after the last part only

    def step(self, loss: Tensor) -> None:
        """See `Engine`."""
        self.backward(loss)

    def optimizer_state(self) -> dict[str, Tensor]:
        """See `Engine`."""
        if self._stage == 0:
            return unpartitioned_state(self._model, self._optimizer)
        parameters = dict(self._model.prompt.named_parameters())
        flats = self._partitions()
        # Every partition has taken the same number of steps.
        step = self._optimizer.state[flats[0]]["step"]
        found = {f"step/{name}": step.detach().cpu().clone() for name in parameters}
        for key in _MOMENTS:
            with self._standing_in(key, flats):
                for name, parameter in parameters.items():
                    found[f"{key}/{name}"] = safe_get_full_fp32_param(parameter).detach().cpu().clone()
        return found

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        """See `Engine`."""
        if self._stage == 0:
            load_unpartitioned_state(self._model, self._optimizer, state)
            return
        step = next(value for path, value in state.items() if path.startswith("step/"))
        flats = self._partitions()
        for flat in flats:
            moments = {key: torch.zeros_like(flat, requires_grad=False) for key in _MOMENTS}
            self._optimizer.state[flat] = {"step": step.clone(), **moments}
        for key in _MOMENTS:
            with self._standing_in(key, flats):
                for name, parameter in self._model.prompt.named_parameters():
                    self._set(parameter, state[f"{key}/{name}"])

    def _partitions(self) -> list[Tensor]:
        """The flat fp32 tensors in which this process holds its part of the prompt, one per group."""
        if self._stage == 3:
            return list(self._engine.optimizer.fp32_partitioned_groups_flat)
        return [flat for group in self._optimizer.param_groups for flat in group["params"]]

    @contextmanager
    def _standing_in(self, key: str, flats: list[Tensor]) -> Iterator[None]:
        """While it lasts optimizer state stands in the place of the parameters and can be read and set as if it were these.

        DeepSpeed's `safe_get_full_optimizer_state` would do, but at stages 1 and 2 it knows the first parameter group only
        (0.19.8: it links states when one group has stepped).
        """
        moments = [self._optimizer.state[flat][key] for flat in flats]
        kept = [flat.detach().clone() for flat in flats]
        with torch.no_grad():
            for flat, moment in zip(flats, moments, strict=True):
                flat.copy_(moment)
            try:
                yield
            finally:
                for flat, moment, value in zip(flats, moments, kept, strict=True):
                    moment.copy_(flat)
                    flat.copy_(value)

    def _set(self, parameter: Tensor, value: Tensor) -> None:
        """Gives a parameter's partitions their parts of a whole value."""
        value = value.to(parameter.device)
        if self._stage < 3:
            safe_set_full_fp32_param(parameter, value)
            return
        # The function for whole values fails where the last partition is padded.
        size = parameter.ds_tensor.numel()  # type: ignore[attr-defined]
        padded = torch.nn.functional.pad(value.flatten(), (0, size * self._world.size - value.numel()))
        safe_set_local_fp32_param(parameter, padded[size * self._world.rank :][:size])
