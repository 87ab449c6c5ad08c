"""The codebook e_KD as moving averages of the vectors drawn to each code (paper, section 3.2; van den Oord et al., 2017, A.1).

B batch, P prompt tokens, N = B·P prompt vectors, D backbone width, K codes, R candidate rows, W processes.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vip_core.config import QuantizerConfig
from vip_core.distributed import copy_from_first_rank_, gather_from_ranks, sum_over_ranks_, world_size
from vip_core.kmeans import kmeans, margin, squared_distance

_PSEUDO_COUNT = 1e-5
_REFERENCE_SMOOTHING = 1e-2
_KMEANS_ROWS_PER_CODE = 8
_REVIVED_PER_STEP = 64


class _Candidates(NamedTuple):
    """Vectors of the current batch, the same on every rank: `valid` of them come first."""

    row_RD: Tensor
    valid: Tensor


class Codebook(nn.Module):
    """K codes, their counts n_K and sums m_KD, kept in fp32 and moved in place outside of autograd.

    All state is in buffers: no optimizer sees it, a checkpoint holds it, and it stays fp32 whatever the module is cast to.
    All ranks hold the same codes: they start from rank 0's and move by statistics summed over ranks.

    Args:
        config: the quantizer's settings.
        start_KD: where the codes start.
    """

    code_KD: Tensor
    count_K: Tensor
    sum_KD: Tensor
    temperature: Tensor
    steps: Tensor

    def __init__(self, config: QuantizerConfig, start_KD: Tensor) -> None:
        super().__init__()
        if start_KD.ndim != 2 or len(start_KD) != config.codes:
            raise ValueError(f"start_KD has shape {tuple(start_KD.shape)}, expected ({config.codes}, D)")
        self.config = config
        code_KD = start_KD.detach().to(torch.float32, copy=True)
        count_K = torch.full((config.codes,), 1.0 if config.ema == "mean" else 1.0 / config.codes, device=code_KD.device)
        self.register_buffer("code_KD", code_KD)
        self.register_buffer("count_K", count_K)
        self.register_buffer("sum_KD", count_K[:, None] * code_KD)
        self.register_buffer("temperature", self._first_temperature())
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, device=code_KD.device))
        self._started: bool | None = None
        self._agreed_ranks = 0
        self.register_load_state_dict_post_hook(Codebook._forget_host_flags)  # type: ignore[no-untyped-call]

    def _forget_host_flags(self, _incompatible_keys: object) -> None:
        self._started, self._agreed_ranks = None, 0

    def _first_temperature(self) -> Tensor:
        """τ before any vector was seen: the given one, or the codes' mean squared distance from their centre."""
        if self.config.temperature != "auto":
            return self.code_KD.new_tensor(self.config.temperature)
        spread = (self.code_KD - self.code_KD.mean(0)).square().sum(1).mean()
        return torch.where(spread > 0, spread, self.code_KD.square().sum(1).mean())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Codebook":
        """Follows a change of device but not of dtype: `model.bfloat16()` leaves the codebook in fp32."""
        kept = {name: buffer for name, buffer in self._buffers.items() if buffer is not None}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, before in kept.items():
            self._buffers[name] = before.to(device=self._buffers[name].device)  # type: ignore[union-attr]
        return self

    @property
    def started(self) -> bool:
        """Whether codes are in use, false during the warm-up. Reads the device once, then remembers."""
        if not self._started:
            self._started = int(self.steps) > self.config.warmup_steps or self.config.warmup_steps == 0
        return self._started

    @torch.no_grad()
    def begin_step_(self, vector_ND: Tensor, generator: torch.Generator | None) -> None:
        """Opens a training forward: counts it, and ends the warm-up with a k-means start when it is due."""
        if self._agreed_ranks != world_size():
            # The first forward, or the first since a group was made. The first rank's step count replaces what was remembered.
            copy_from_first_rank_(self.code_KD, self.count_K, self.sum_KD, self.temperature, self.steps)
            self._started, self._agreed_ranks = None, world_size()
        was_started = self.started
        self.steps += 1
        if not was_started and self.started:
            self._start_(vector_ND, generator)

    def _start_(self, vector_ND: Tensor, generator: torch.Generator | None) -> None:
        """Places the codes by k-means over the current vectors of all ranks; without any vector they stay."""
        found = self._candidates(vector_ND, _KMEANS_ROWS_PER_CODE * self.config.codes, generator)
        rows = int(found.valid)
        if rows == 0:
            return
        code_KD = kmeans(found.row_RD[:rows], self.config.codes)
        self._place_(
            torch.ones_like(self.count_K, dtype=torch.bool), code_KD, self.count_K.new_tensor(rows / self.config.codes)
        )
        if self.config.temperature == "auto":
            self.temperature.copy_(margin(squared_distance(found.row_RD[:rows], self.code_KD)).mean())
        # Sums over rows come in any order on a GPU, so ranks may differ in the last bit.
        copy_from_first_rank_(self.code_KD, self.count_K, self.sum_KD, self.temperature)

    def _place_(self, where_K: Tensor, code_KD: Tensor, count: Tensor) -> None:
        """Puts the chosen codes somewhere else: code, count and sum together."""
        self.code_KD.copy_(torch.where(where_K[:, None], code_KD, self.code_KD))
        self.count_K.copy_(torch.where(where_K, count, self.count_K))
        self.sum_KD.copy_(torch.where(where_K[:, None], count * code_KD, self.sum_KD))

    @torch.no_grad()
    def update_(self, vector_ND: Tensor, weight_NK: Tensor, margin_N: Tensor, generator: torch.Generator | None) -> None:
        """Moves codes, counts, sums and an automatic temperature by this batch, then revives dead codes.

        Args:
            vector_ND: p^c of this rank; N may be 0.
            weight_NK: how much of each code each vector drew; rows sum to one.
            margin_N: half of how much farther each vector's second nearest code is than its nearest, in squared distance.
            generator: source of the choice of vectors that revived codes restart at.
        """
        decay = self.config.decay
        drawn_K = weight_NK.sum(0)
        drawn_KD = weight_NK.T @ vector_ND
        margin_2 = torch.stack([margin_N.sum(), margin_N.new_tensor(len(margin_N))])
        sum_over_ranks_(drawn_K, drawn_KD, margin_2)
        if self.config.ema == "mean":
            self.count_K.mul_(decay).add_(drawn_K, alpha=1 - decay)
            self.sum_KD.mul_(decay).add_(drawn_KD, alpha=1 - decay)
            # Smoothed where it is read, by a pseudo-count at the code's own place. Without draws m / n stays what it is, and
            # the code is left alone: count and sum decay towards zero, and rounding of their ratio would move it.
            moved_KD = (self.sum_KD + _PSEUDO_COUNT * self.code_KD) / (self.count_K + _PSEUDO_COUNT)[:, None]
            self.code_KD.copy_(torch.where(drawn_K[:, None] > 0, moved_KD, self.code_KD))
        else:
            # The release writes its smoothed count back and keeps no sum; see docs/decisions.md.
            self.count_K.mul_(decay).add_(drawn_K, alpha=1 - decay)
            total = self.count_K.sum()
            self.count_K.add_(_REFERENCE_SMOOTHING).mul_(total / (total + len(self.count_K) * _REFERENCE_SMOOTHING))
            self.code_KD.mul_(decay).add_(drawn_KD / self.count_K[:, None], alpha=1 - decay)
            self.sum_KD.copy_(self.count_K[:, None] * self.code_KD)
        if self.config.temperature == "auto":
            total_margin, rows = margin_2
            moved = decay * self.temperature + (1 - decay) * total_margin / rows.clamp_min(1)
            self.temperature.copy_(torch.where(rows > 0, moved, self.temperature))
        if self.config.revive_below > 0:
            self._revive_(vector_ND, generator)

    def _revive_(self, vector_ND: Tensor, generator: torch.Generator | None) -> None:
        """Restarts codes whose count fell under the threshold at current vectors, as if of average use."""
        found = self._candidates(vector_ND, min(self.config.codes, _REVIVED_PER_STEP), generator)
        mean_count = self.count_K.mean()
        dead_K = self.count_K < self.config.revive_below * mean_count
        order_K = dead_K.cumsum(0) - 1
        taken_K = dead_K & (order_K < found.valid)
        self._place_(taken_K, found.row_RD[order_K.clamp(0, len(found.row_RD) - 1)], mean_count)

    def _candidates(self, vector_ND: Tensor, wanted: int, generator: torch.Generator | None) -> _Candidates:
        """Random vectors of all ranks, in the same order everywhere.

        Each rank offers ceil(wanted / W) rows, real ones or blanks, so that all take part with the same shapes.
        """
        offered = -(-wanted // world_size())
        pick_R = torch.randperm(len(vector_ND), generator=generator, device=vector_ND.device)[:offered]
        row_RD = vector_ND.new_zeros(offered, vector_ND.shape[1])
        row_RD[: len(pick_R)] = vector_ND[pick_R]
        real_R = torch.arange(offered, device=vector_ND.device) < len(pick_R)
        row_RD, real_R = gather_from_ranks(row_RD), gather_from_ranks(real_R)
        # Ranks take turns, so that no rank's vectors are preferred; blanks go last.
        turn_R = torch.arange(len(real_R), device=real_R.device).view(-1, offered).T.flatten()
        turn_R = turn_R[torch.argsort(~real_R[turn_R], stable=True)]
        return _Candidates(row_RD[turn_R], real_R.sum())

    def extra_repr(self) -> str:
        """K and D."""
        return f"codes={self.code_KD.shape[0]}, dim={self.code_KD.shape[1]}"
