"""Draws each prompt vector from a small codebook (paper, section 3.2).

B batch, P prompt tokens, N = B·P prompt vectors, D width of what is quantised, K codes, M draws per token. Vectors are called
p^c here as in the paper, which quantises after W_up; with codes in the bottleneck (`QuantizerConfig.space`) they are h,
and D is C.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vip_core.codebook import Codebook, Seen
from vip_core.config import Evaluation, QuantizerConfig
from vip_core.kmeans import squared_distance
from vip_core.losses import commitment_loss
from vip_core.selection import choose, sum_codes
from vip_core.temperature import mixing

_LEAST = torch.finfo(torch.float32).tiny
_FAR = 1e4  # exp(-1e4) is 0, and 0 times 1e4 is no NaN


class Quantized(NamedTuple):
    """What the quantizer did. The same fields in training, evaluation and warm-up."""

    vector_BPD: Tensor
    """p^q, with the gradient passed straight through to p^c. Equal to p^c during the warm-up."""
    weight_BPK: Tensor
    """How much of each code each prompt token took, fp32; rows sum to one. All zero during the warm-up."""
    commitment: Tensor
    """mean((sg(p^q) - p^c)²), a scalar without β."""


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
        self,
        context_BPD: Tensor,
        *,
        how: Evaluation | None = None,
        generator: torch.Generator | None = None,
        allowed_BK: Tensor | None = None,
    ) -> Quantized:
        """Quantises contextual prompt vectors.

        Args:
            context_BPD: p^c, any floating dtype; B may be 0.
            how: overrides the selection; by default `sample` in training and `config.evaluation` in evaluation.
            generator: source of all randomness of this call; torch's own when None.
            allowed_BK: bool, the codes each row may select from, as if there were no others; all of them when None. To ask
                what a code does: leave it out, or leave no other.

        Returns:
            See `Quantized`; `vector_BPD` has the dtype of `context_BPD`.

        Raises:
            ValueError: a row is allowed no code.
        """
        if allowed_BK is not None and not bool(allowed_BK.any(1).all()):
            raise ValueError("allowed_BK leaves a row without any code to select")
        with torch.autocast(context_BPD.device.type, enabled=False):
            quantized = self._quantize(context_BPD.float(), how or self._default_selection(), generator, allowed_BK)
        return quantized._replace(vector_BPD=quantized.vector_BPD.to(context_BPD.dtype))

    def _default_selection(self) -> Evaluation:
        return "sample" if self.training else self.config.evaluation

    def _quantize(
        self, context_BPD: Tensor, how: Evaluation, generator: torch.Generator | None, allowed_BK: Tensor | None
    ) -> Quantized:
        vector_ND = context_BPD.detach().flatten(0, 1)
        if self.training:
            self.codebook.join_()
        if not self.codebook.started:
            if self.training:
                self.codebook.learn_(Seen(vector_ND, vector_ND[:, :0]), generator)
            nothing_BPK = context_BPD.new_zeros(*context_BPD.shape[:2], self.config.codes)
            return Quantized(context_BPD, nothing_BPK, context_BPD.new_zeros(()))

        distance_NK = squared_distance(vector_ND, self.codebook.code_KD)
        if allowed_BK is not None:
            allowed_NK = allowed_BK.repeat_interleave(context_BPD.shape[1], dim=0)
            distance_NK.masked_fill_(~allowed_NK, float("inf"))
        # Softmax does not see the shift by the nearest distance; without it every logit is -inf where τ is tiny. In place: none
        # of this is in the graph of autograd, and N x K numbers are most of what the quantizer holds.
        nearest_N1 = distance_NK.amin(1, keepdim=True)
        temperature = self.codebook.temperature.clamp_min(_LEAST)
        logit_NK = distance_NK.sub_(nearest_N1).div_(-temperature).clamp_min_(-_FAR)
        weight_NK, drawn_NM, probability_NK = choose(logit_NK, how, self.config.draws, generator)
        mixing_N = None
        if self.training and self.config.temperature == "auto" and probability_NK is not None:
            mixing_N = mixing(probability_NK, logit_NK, nearest_N1[:, 0], temperature)
        del distance_NK, logit_NK, probability_NK
        quantized_BPD = sum_codes(weight_NK, drawn_NM, self.codebook.code_KD).view_as(context_BPD)
        if self.training:
            self.codebook.learn_(Seen(vector_ND, weight_NK, mixing_N, drawn_NM), generator)

        # p^q to the last bit, because what is added is zero; its gradient is one.
        straight_through_BPD = (context_BPD - context_BPD.detach()).add_(quantized_BPD)
        weight_BPK = weight_NK.view(*context_BPD.shape[:2], self.config.codes)
        return Quantized(straight_through_BPD, weight_BPK, commitment_loss(context_BPD, quantized_BPD))
