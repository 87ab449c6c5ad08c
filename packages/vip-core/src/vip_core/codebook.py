"""The codebook e_KD as moving averages of the vectors drawn to each code (paper, section 3.2; van den Oord et al., 2017, A.1).

B batch, P prompt tokens, N = B·P prompt vectors, D width of what is quantised, K codes, R candidate rows, W processes.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vip_core.config import QuantizerConfig
from vip_core.distributed import copy_from_first_rank_, gather_from_ranks, sum_over_ranks_, world_size
from vip_core.kmeans import kmeans, squared_distance
from vip_core.selection import sum_vectors
from vip_core.temperature import corrected, left_out, solve

_PSEUDO_COUNT = 1e-5
_REFERENCE_SMOOTHING = 1e-2
_KMEANS_ROWS_PER_CODE = 8
_REVIVED_PER_STEP = 64
_LEAST_TEMPERATURE = 1e-6


class Seen(NamedTuple):
    """What a training forward has for the codebook to learn from."""

    vector_ND: Tensor
    """p^c, without gradient; N may be 0."""
    weight_NK: Tensor
    """How much of each code each vector drew; rows sum to one. K = 0 in the warm-up, which draws none."""
    mixing_N: Tensor | None = None
    """Of each vector, see `temperature.mixing`, by which an automatic τ is corrected; None leaves it."""
    drawn_NM: Tensor | None = None
    """The codes whose shares of the draws `weight_NK` is, which makes its sums cheap; None where it is not."""


class _Candidates(NamedTuple):
    """Vectors of the current batch, the same on every rank: `valid` of them come first."""

    row_RD: Tensor
    valid: Tensor


@dataclass
class _Host:
    """What the host knows without asking the device, for which it would have to wait."""

    steps: int = 0
    """As the buffer of that name, until codes are in use; then it stays."""
    agreed_ranks: int = 0
    """The number of processes that have started from the same codes."""
    holds: bool = False
    """Whether forwards are kept for a later one to learn from."""
    held: list[Seen] = field(default_factory=list)
    """Those that were kept."""


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
        self._host = _Host()
        self.register_load_state_dict_post_hook(Codebook._loaded)  # type: ignore[no-untyped-call]

    def _loaded(self, _incompatible_keys: object) -> None:
        """After load_state_dict: a temperature that the settings give wins over the one in the file."""
        if self.config.temperature != "auto":
            self.temperature.fill_(self.config.temperature)
        self._read_steps()

    def _read_steps(self) -> None:
        """Reads the number of steps from the device, once for each state that was loaded, and forgets forwards kept before."""
        self._host = _Host(steps=0 if self.steps.is_meta else int(self.steps), holds=self._host.holds)

    def _first_temperature(self) -> Tensor:
        """τ before any vector was seen: the given one, or the codes' spread."""
        return self._spread() if self.config.temperature == "auto" else self.code_KD.new_tensor(self.config.temperature)

    def _spread(self) -> Tensor:
        """The codes' mean squared distance from their centre; where they lie in one place, their squared norm."""
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
        """Whether codes are in use, false during the warm-up.

        The host knows, because it counts steps as well. It follows `load_state_dict`, not a write into the buffer.
        """
        if self.config.warmup_steps == 0:
            return True
        with _followed_by_compile():
            return self._host.steps >= self.config.warmup_steps

    @contextmanager
    def held(self) -> Iterator[None]:
        """Training forwards inside it are kept; the next one after it learns from all of them as from one batch.

        Entering forgets what a batch that was never finished left behind, and so does an error inside. Forwards in evaluation
        take no part.
        """
        self._host.held.clear()
        self._host.holds = True
        try:
            yield
        except BaseException:
            self._host.held.clear()
            raise
        finally:
            self._host.holds = False

    @torch.no_grad()
    def join_(self) -> None:
        """Opens a training forward: the first since there is a group takes the first rank's state."""
        if self._host.agreed_ranks != world_size():
            if world_size() > 1:
                copy_from_first_rank_(self.code_KD, self.count_K, self.sum_KD, self.temperature, self.steps)
                self._read_steps()
            self._host.agreed_ranks = world_size()

    @torch.no_grad()
    def learn_(self, seen: Seen, generator: torch.Generator | None) -> None:
        """Closes a training forward: one step of the moving averages, or of the warm-up, whose last starts the codes."""
        if self._host.holds:
            self._host.held.append(seen)
            return
        if self._host.held:
            seen = _joined([*self._host.held, seen])
            self._host.held.clear()
        was_started = self.started
        self.steps += 1
        if was_started:
            self.update_(seen, generator)
        else:
            self._host.steps += 1
            if self.started:
                self._start_(seen.vector_ND, generator)

    def _start_(self, vector_ND: Tensor, generator: torch.Generator | None) -> None:
        """Places the codes by k-means over the current vectors of all ranks; without any vector they stay."""
        found = self._candidates(vector_ND, _KMEANS_ROWS_PER_CODE * self.config.codes, generator)
        code_KD = kmeans(found.row_RD, self.config.codes, valid=found.valid)
        some = found.valid > 0
        all_K = torch.arange(self.config.codes, device=some.device)
        # With fewer vectors than codes k-means repeats them. A repeat is no code of its own: the others stay, to be revived.
        self._place_(all_K, all_K < found.valid, code_KD, found.valid / self.config.codes)
        if self.config.temperature == "auto":
            counts_R = torch.arange(len(found.row_RD), device=some.device) < found.valid
            distance_RK = left_out(squared_distance(found.row_RD, self.code_KD), counts_R)
            solved = solve(distance_RK, counts_R, self._spread())
            self.temperature.copy_(torch.where(some, solved, self.temperature))
        # Sums over rows come in any order on a GPU, so ranks may differ in the last bit.
        copy_from_first_rank_(self.code_KD, self.count_K, self.sum_KD, self.temperature)

    def _place_(self, index_R: Tensor, where_R: Tensor, code_RD: Tensor, count: Tensor) -> None:
        """Puts codes, each named once, somewhere else where told to: code, count and sum together."""
        self.code_KD[index_R] = torch.where(where_R[:, None], code_RD, self.code_KD[index_R])
        self.count_K[index_R] = torch.where(where_R, count, self.count_K[index_R])
        self.sum_KD[index_R] = torch.where(where_R[:, None], count * code_RD, self.sum_KD[index_R])

    @torch.no_grad()
    def update_(self, seen: Seen, generator: torch.Generator | None) -> None:
        """Moves codes, counts, sums and an automatic temperature by this batch, then revives dead codes.

        Args:
            seen: of this rank.
            generator: source of the choice of vectors that revived codes restart at.
        """
        vector_ND, weight_NK, mixing_N, drawn_NM = seen
        decay = self.config.decay
        drawn_K = weight_NK.sum(0)
        drawn_KD = sum_vectors(weight_NK, drawn_NM, vector_ND)
        sum_over_ranks_(drawn_K, drawn_KD)
        if self.config.ema == "mean":
            self.count_K.mul_(decay).add_(drawn_K, alpha=1 - decay)
            self.sum_KD.mul_(decay).add_(drawn_KD, alpha=1 - decay)
            # Smoothed where it is read, by a pseudo-count at the code's own place. Without draws m / n stays what it is, and
            # the code is left alone: count and sum decay towards zero, and rounding of their ratio would move it.
            moved_KD = self.sum_KD.add(self.code_KD, alpha=_PSEUDO_COUNT).div_((self.count_K + _PSEUDO_COUNT)[:, None])
            self.code_KD.copy_(torch.where(drawn_K[:, None] > 0, moved_KD, self.code_KD))
        else:
            # The release writes its smoothed count back and keeps no sum; see docs/decisions.md.
            self.count_K.mul_(decay).add_(drawn_K, alpha=1 - decay)
            total = self.count_K.sum()
            self.count_K.add_(_REFERENCE_SMOOTHING).mul_(total / (total + len(self.count_K) * _REFERENCE_SMOOTHING))
            self.code_KD.mul_(decay).add_(drawn_KD / self.count_K[:, None], alpha=1 - decay)
            self.sum_KD.copy_(self.count_K[:, None] * self.code_KD)
        if self.config.temperature == "auto" and mixing_N is not None:
            mixing_2 = torch.stack([mixing_N.sum(), mixing_N.new_full((), len(mixing_N))])
            sum_over_ranks_(mixing_2)
            total, rows = mixing_2
            moved = corrected(self.temperature, total / rows.clamp_min(1), self.config.codes, 1 - decay)
            # Where codes lie in one place no τ tells them apart; it must not fall so far that it cannot come back.
            moved = torch.maximum(moved, _LEAST_TEMPERATURE * self._spread())
            self.temperature.copy_(torch.where(rows > 0, moved, self.temperature))
        if self.config.revive_below > 0:
            self._revive_(vector_ND, generator)

    def _revive_(self, vector_ND: Tensor, generator: torch.Generator | None) -> None:
        """Restarts codes whose count fell under the threshold at current vectors, as if of average use."""
        found = self._candidates(vector_ND, min(self.config.codes, _REVIVED_PER_STEP), generator)
        mean_count = self.count_K.mean()
        dead_K = self.count_K < self.config.revive_below * mean_count
        # The dead come first, each opposite a vector, until one of the two runs out.
        index_R = dead_K.logical_not().argsort(stable=True)[: len(found.row_RD)]
        row_RD = found.row_RD[: len(index_R)]
        offered_R = torch.arange(len(index_R), device=index_R.device) < found.valid
        self._place_(index_R, dead_K[index_R] & offered_R, row_RD, mean_count)

    def _candidates(self, vector_ND: Tensor, wanted: int, generator: torch.Generator | None) -> _Candidates:
        """Random vectors of all ranks, in the same order everywhere.

        Each rank offers ceil(wanted / W) rows, real ones or blanks, so that all take part with the same shapes. Alone it needs
        no blanks, but for one where it has no vector.
        """
        offered = -(-wanted // world_size()) if world_size() > 1 else min(wanted, max(len(vector_ND), 1))
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


def _joined(parts: list[Seen]) -> Seen:
    """Several forwards as one."""
    mixing = [part.mixing_N for part in parts if part.mixing_N is not None]
    drawn = [part.drawn_NM for part in parts if part.drawn_NM is not None]
    # Draws name rows by their place, so all rows have to have as many; the weights say the same at more cost.
    alike = len(drawn) == len(parts) and len({len(drawn_NM[0]) for drawn_NM in drawn if len(drawn_NM)}) <= 1
    return Seen(
        torch.cat([part.vector_ND for part in parts]),
        torch.cat([part.weight_NK for part in parts]),
        torch.cat(mixing) if mixing else None,
        torch.cat(drawn) if alike and drawn else None,
    )


def _followed_by_compile() -> AbstractContextManager[object]:
    """Inside it torch.compile takes a module's integer for one that changes; elsewhere it compiles again for each value.

    Versions of torch that lack it follow such integers by themselves, or cannot. There is no public name for it.
    """
    if torch.compiler.is_compiling() and hasattr(torch._dynamo, "patch_dynamo_config"):
        return torch._dynamo.patch_dynamo_config(allow_unspec_int_on_nn_module=True)
    return nullcontext()
