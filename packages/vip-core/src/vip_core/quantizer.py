"""Draws each prompt vector from a small codebook (paper, section 3.2).

B batch, P prompt tokens, N = B·P prompt vectors, D backbone width, K codes, M draws per token.
"""

from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from vip_core.codebook import Codebook
from vip_core.config import Evaluation, QuantizerConfig
from vip_core.kmeans import margin, squared_distance
from vip_core.losses import commitment_loss


class Quantized(NamedTuple):
    """What the quantizer did. The same fields in training, evaluation and warm-up."""

    vector_BPD: Tensor
    """p^q, with the gradient passed straight through to p^c. Equal to p^c during the warm-up."""
    weight_BPK: Tensor
    """How much of each code each prompt token took, fp32; rows sum to one. All zero during the warm-up."""
    commitment: Tensor
    """mean((sg(p^q) - p^c)²), a scalar without β."""


def select(logit_NK: Tensor, how: Evaluation, draws: int, generator: torch.Generator | None = None) -> Tensor:
    """weight_NK for logits: how much of each code each vector takes.

    Args:
        logit_NK: unnormalised log-probabilities.
        how: `sample` draws `draws` codes with replacement and counts them, weight = count / M; `expected` is the mean of that,
            softmax; `argmax` is one for the likeliest code (the first of equals).
        draws: M, for `sample`.
        generator: source of the draws; torch's own when None.
    """
    if how not in get_args(Evaluation):
        raise ValueError(f"how={how!r} must be one of {', '.join(map(repr, get_args(Evaluation)))}")
    if how == "argmax":
        return nn.functional.one_hot(logit_NK.argmax(1), logit_NK.shape[1]).to(logit_NK.dtype)
    probability_NK = logit_NK.softmax(1)
    if how == "expected":
        return probability_NK
    # torch refuses to draw from NaN with an error of its own; a diverged loss is for the training loop to report.
    drawn_NM = (
        torch.multinomial(probability_NK.nan_to_num(1 / logit_NK.shape[1]), draws, replacement=True, generator=generator)
        if len(probability_NK)
        else torch.empty(0, draws, dtype=torch.int64, device=logit_NK.device)
    )
    return torch.zeros_like(probability_NK).scatter_add_(
        1, drawn_NM, torch.full_like(drawn_NM, 1 / draws, dtype=logit_NK.dtype)
    )


class Quantizer(nn.Module):
    """p^q = Σ_k weight_k e_k with weights drawn from softmax(-||p^c - e_k||² / τ).

    Training draws M codes with replacement; evaluation follows `config.evaluation` and is deterministic unless that is
    `sample`. The codebook gets no gradient: it follows the vectors by moving averages, one update per training forward, from
    the weights of that very forward. Everything here runs in fp32 whatever autocast says.

    Args:
        config: see `QuantizerConfig`.
        start_KD: where the codes start.
    """

    def __init__(self, config: QuantizerConfig, start_KD: Tensor) -> None:
        super().__init__()
        self.config = config
        self.codebook = Codebook(config, start_KD)

    def forward(
        self, context_BPD: Tensor, *, how: Evaluation | None = None, generator: torch.Generator | None = None
    ) -> Quantized:
        """Quantises contextual prompt vectors.

        Args:
            context_BPD: p^c, any floating dtype; B may be 0.
            how: overrides the selection; by default `sample` in training and `config.evaluation` in evaluation.
            generator: source of all randomness of this call; torch's own when None.

        Returns:
            See `Quantized`; `vector_BPD` has the dtype of `context_BPD`.
        """
        with torch.autocast(context_BPD.device.type, enabled=False):
            quantized = self._quantize(context_BPD.float(), how or self._default_selection(), generator)
        return quantized._replace(vector_BPD=quantized.vector_BPD.to(context_BPD.dtype))

    def _default_selection(self) -> Evaluation:
        return "sample" if self.training else self.config.evaluation

    def _quantize(self, context_BPD: Tensor, how: Evaluation, generator: torch.Generator | None) -> Quantized:
        vector_ND = context_BPD.detach().flatten(0, 1)
        if self.training:
            self.codebook.begin_step_(vector_ND, generator)
        if not self.codebook.started:
            nothing_BPK = context_BPD.new_zeros(*context_BPD.shape[:2], self.config.codes)
            return Quantized(context_BPD, nothing_BPK, context_BPD.new_zeros(()))

        distance_NK = squared_distance(vector_ND, self.codebook.code_KD)
        nearest_N = distance_NK.amin(1)
        # Softmax does not see the shift by the nearest distance; without it every logit is -inf where τ is tiny.
        logit_NK = (nearest_N[:, None] - distance_NK) / self.codebook.temperature.clamp_min(torch.finfo(torch.float32).tiny)
        weight_NK = select(logit_NK, how, self.config.draws, generator)
        quantized_BPD = (weight_NK @ self.codebook.code_KD).view_as(context_BPD)
        if self.training:
            self.codebook.update_(vector_ND, weight_NK, margin(distance_NK), generator)

        straight_through_BPD = context_BPD + (quantized_BPD - context_BPD).detach()
        weight_BPK = weight_NK.view(*context_BPD.shape[:2], self.config.codes)
        return Quantized(straight_through_BPD, weight_BPK, commitment_loss(context_BPD, quantized_BPD))
