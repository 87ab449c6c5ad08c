"""Ways to select codes that were tried and are not in vip_core; `selection.py` runs this file in processes of its own.

    python benchmarks/_candidates.py NAME [flags of run.py]

NAME is `-` for vip_core as it is. Each candidate replaces one thing and leaves the rest, so that rows of the table compare.
docs/decisions.md has the figures. P prompt tokens, N = B·P prompt vectors, D width of what is quantised, K codes.
"""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import torch
import vip_core.codebook
import vip_core.prompt
import vip_core.quantizer
import vip_core.temperature
from torch import Tensor, nn
from vip_core import Quantized, Quantizer
from vip_core.kmeans import squared_distance
from vip_train.cli import main


class Cosine(Quantizer):
    """Distances between directions: vectors are scaled to the norm the codes start with."""

    def forward(self, context_BPD: Tensor, **options: Any) -> Quantized:
        if not hasattr(self, "norm"):
            self.norm = self.codebook.code_KD.norm(dim=1).mean()
        return super().forward(nn.functional.normalize(context_BPD, dim=2) * self.norm, **options)


class Whitened(Quantizer):
    """Distances in units of each dimension's own moving mean and standard deviation."""

    def forward(self, context_BPD: Tensor, **options: Any) -> Quantized:
        vector_ND = context_BPD.detach().flatten(0, 1)
        if not hasattr(self, "mean_D"):
            self.mean_D, self.variance_D = vector_ND.mean(0), vector_ND.var(0)
        if self.training:
            self.mean_D.lerp_(vector_ND.mean(0), 0.01)
            self.variance_D.lerp_(vector_ND.var(0), 0.01)
        deviation_D = self.variance_D.sqrt() + 1e-6
        found = super().forward((context_BPD - self.mean_D) / deviation_D, **options)
        return found._replace(vector_BPD=found.vector_BPD * deviation_D + self.mean_D)


class Standardised(Quantizer):
    """Distances from a moving mean in units of one moving standard deviation."""

    def forward(self, context_BPD: Tensor, **options: Any) -> Quantized:
        vector_ND = context_BPD.detach().flatten(0, 1)
        if not hasattr(self, "mean_D"):
            self.mean_D, self.variance = vector_ND.mean(0), vector_ND.var(0).mean()
        if self.training:
            self.mean_D.lerp_(vector_ND.mean(0), 0.01)
            self.variance.lerp_(vector_ND.var(0).mean(), 0.01)
        deviation = self.variance.sqrt() + 1e-6
        found = super().forward((context_BPD - self.mean_D) / deviation, **options)
        return found._replace(vector_BPD=found.vector_BPD * deviation + self.mean_D)


class PerPosition(nn.Module):
    """A codebook of K / P codes for each prompt token."""

    def __init__(self, config: Any, start_KD: Tensor) -> None:
        super().__init__()
        parts = start_KD.split(len(start_KD) // 10)
        self.parts = nn.ModuleList(Quantizer(dataclasses.replace(config, codes=len(part)), part) for part in parts)

    def forward(self, context_BPD: Tensor, **options: Any) -> Quantized:
        found = [part(context_BPD[:, [place]], **options) for place, part in enumerate(self.parts)]
        weight_BPK = torch.cat(
            [nn.functional.pad(one.weight_BPK, (place * (k := one.weight_BPK.shape[2]), (len(found) - 1 - place) * k))
             for place, one in enumerate(found)],
            dim=1,
        )  # fmt: skip
        commitment = torch.stack([one.commitment for one in found]).mean()
        return Quantized(torch.cat([one.vector_BPD for one in found], dim=1), weight_BPK, commitment)


class Balanced(Quantizer):
    """A loss that wants each vector sure of its code and all codes in use: mean entropy less entropy of the mean, in nats."""

    def forward(self, context_BPD: Tensor, **options: Any) -> Quantized:
        found = super().forward(context_BPD, **options)
        if not self.training or not self.codebook.started:
            return found
        distance_NK = squared_distance(context_BPD.flatten(0, 1), self.codebook.code_KD.clone())
        share_NK = (-distance_NK / self.codebook.temperature.clamp_min(1e-6)).softmax(1) + 1e-9  # entr has no slope at 0
        gap = torch.special.entr(share_NK).sum(1).mean() - torch.special.entr(share_NK.mean(0)).sum()
        return found._replace(commitment=found.commitment + gap)


def quantizer(kind: Any) -> Callable[[], None]:
    def replace() -> None:
        vip_core.prompt.Quantizer = kind

    return replace


Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def temperature(found: Rule, *, average: bool) -> Callable[[], None]:
    """Another automatic τ: a moving average of what `found` says of each vector, or what keeps it at log 2."""

    def averaged(tau: Tensor, mean: Tensor, codes: int, rate: float) -> Tensor:
        return tau + rate * (mean - tau)

    def start(distance_RK: Tensor, counts_R: Tensor, scale: Tensor) -> Tensor:
        nearest_R = distance_RK.amin(1)
        logit_RK = (nearest_R[:, None] - distance_RK) / scale
        return (found(logit_RK.softmax(1), logit_RK, nearest_R, scale) * counts_R).sum() / counts_R.sum()

    def replace() -> None:
        vip_core.quantizer.mixing = vip_core.temperature.mixing = found
        if average:
            vip_core.codebook.corrected, vip_core.codebook.solve = averaged, start

    return replace


def nearest(probability_RK: Tensor, logit_RK: Tensor, nearest_R: Tensor, tau: Tensor) -> Tensor:
    return nearest_R


def half_gap(probability_RK: Tensor, logit_RK: Tensor, nearest_R: Tensor, tau: Tensor) -> Tensor:
    return -tau * logit_RK.topk(2, dim=1).values[:, 1] / 2


def entropy(probability_RK: Tensor, logit_RK: Tensor, nearest_R: Tensor, tau: Tensor) -> Tensor:
    return torch.special.entr(probability_RK).sum(1)


CANDIDATES: dict[str, Callable[[], None]] = {
    "-": lambda: None,
    "cosine": quantizer(Cosine),
    "whitened": quantizer(Whitened),
    "standardised": quantizer(Standardised),
    "per position": quantizer(PerPosition),
    "balance loss": quantizer(Balanced),
    "nearest": temperature(nearest, average=True),
    "half gap": temperature(half_gap, average=True),
    "entropy": temperature(entropy, average=False),
}


if __name__ == "__main__":
    CANDIDATES[sys.argv[1]]()
    sys.exit(main(["train", *sys.argv[2:]]))
