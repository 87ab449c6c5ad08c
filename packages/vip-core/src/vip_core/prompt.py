"""The whole prompt: static tokens, contextualizer, quantizer, skip, and the text they are put before.

B batch, S source tokens, P prompt tokens, D backbone width, K codes, V vocabulary.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vip_core.config import Evaluation, VIPConfig
from vip_core.contextualizer import Contextualizer
from vip_core.quantizer import Quantized, Quantizer


class Prompted(NamedTuple):
    """What the backbone reads and how it came about. The same fields for every method."""

    embeds_BLD: Tensor
    """[prompt ; text], L = P + S, in the dtype of the text."""
    mask_BL: Tensor
    """The text's mask with P ones before it, in its dtype."""
    prompt_BPD: Tensor
    """The first P of `embeds_BLD` in fp32: p + p^q, or what the method puts there."""
    weight_BPK: Tensor
    """The selection: how much of each code each prompt token took. K = 0 for methods without a codebook."""
    commitment: Tensor
    """β · mean((sg(p^q) - p^c)²), to be added to the cross-entropy; 0 without a codebook."""


def vocabulary_rows(embedding_VD: Tensor, first: int, count: int) -> Tensor:
    """Rows first..first+count-1 of a vocabulary, [count, D] fp32, starting over where it ends."""
    row = torch.arange(first, first + count, device=embedding_VD.device) % len(embedding_VD)
    return embedding_VD.detach()[row].float()


class VIPPrompt(nn.Module):
    """Soft prompt tokens for a frozen backbone that follow the input and are drawn from a codebook.

    The backbone's embedding is read once here for starting values and never kept, so no checkpoint can hold it.

    `torch.compile(prompt, fullgraph=True)` works in training and evaluation, in one process: it compiles anew where the warm-up
    ends, not at each step. Without a `generator`: torch cannot compile that argument, and draws follow torch's own.

    Args:
        config: sizes and ablations.
        embedding_VD: the backbone's vocabulary. Sets D, the scale, and where prompt and codes start.
        generator: source of `prompt_start="sample"`; torch's own when None.

    Raises:
        ValueError: the vocabulary is empty, all zero or not finite (as seen when its weights are sharded elsewhere).
    """

    def __init__(self, config: VIPConfig, embedding_VD: Tensor, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        scale = embedding_VD.detach().float().square().mean().sqrt().item() if embedding_VD.numel() else 0.0
        if not 0.0 < scale < float("inf"):
            raise ValueError(
                f"embedding_VD of shape {tuple(embedding_VD.shape)} has root mean square {scale}: nothing to start from"
            )
        self.config = config
        length, dim = config.prompt_length, embedding_VD.shape[1]
        if config.prompt_start == "sample":
            picked = torch.randint(len(embedding_VD), (length,), generator=generator)
            start_PD = embedding_VD.detach()[picked.to(embedding_VD.device)].float()
        else:
            start_PD = vocabulary_rows(embedding_VD, 0, length)
        self.prompt_PD = nn.Parameter(start_PD.clone())
        self.contextualizer = Contextualizer(config.contextualizer, dim, scale=scale) if config.contextualizes else None
        self.quantizer = Quantizer(config.quantizer, self._first_codes(embedding_VD)) if config.quantizes else None

    def _first_codes(self, embedding_VD: Tensor) -> Tensor:
        """Vocabulary rows P..P+K-1, scaled to one norm (release), in the space that codes lie in."""
        row_KD = vocabulary_rows(embedding_VD, self.config.prompt_length, self.config.quantizer.codes)
        if self.contextualizer is not None and self.config.quantizes_bottleneck:
            row_KD = self.contextualizer.place(row_KD.to(self.contextualizer.down.weight.device))
        norm = self.config.quantizer.start_norm
        target = row_KD.norm(dim=1).mean() if norm == "auto" else norm
        return nn.functional.normalize(row_KD, dim=1) * target

    def prompt_parameters(self) -> list[nn.Parameter]:
        """The static tokens, which want a learning rate of their own."""
        return [self.prompt_PD]

    def contextualizer_parameters(self) -> list[nn.Parameter]:
        """The contextualizer's weights; empty for methods without one."""
        return list(self.contextualizer.parameters()) if self.contextualizer is not None else []

    @torch.no_grad()
    def code_vectors(self) -> Tensor:
        """The codes as the backbone reads them, [K, D] fp32; K = 0 for methods without a codebook."""
        if self.quantizer is None:
            return self.prompt_PD.new_zeros(0, self.prompt_PD.shape[1], dtype=torch.float32)
        code_KD = self.quantizer.codebook.code_KD
        if self.contextualizer is not None and self.config.quantizes_bottleneck:
            return self.contextualizer.expand(code_KD.to(self.contextualizer.up.weight.dtype)).float()
        return code_KD.clone()

    def held(self) -> AbstractContextManager[None]:
        """Training forwards inside it are kept; the next one after it moves the codebook by all of them as by one batch.

        For batches that are taken in parts (gradient accumulation): all parts but the last go inside one such block.
        """
        return self.quantizer.codebook.held() if self.quantizer is not None else nullcontext()

    def forward(
        self,
        text_BSD: Tensor,
        mask_BS: Tensor,
        *,
        how: Evaluation | None = None,
        generator: torch.Generator | None = None,
        allowed_BK: Tensor | None = None,
    ) -> Prompted:
        """Puts the prompt before the text.

        Args:
            text_BSD: embedded input text, padded anywhere. A row of padding alone is read, and moves codes, like any other.
            mask_BS: 1 or true where there is a token.
            how: overrides how codes are selected, see `Quantizer.forward`.
            generator: source of all randomness of this call but dropout; torch's own when None.
            allowed_BK: the codes each row may select from, see `Quantizer.forward`; of no effect without a codebook.
        """
        static_BPD = self.prompt_PD.float().expand(len(text_BSD), -1, -1)
        drawn_BPD, weight_BPK, commitment = self._draw(static_BPD, text_BSD, mask_BS, how, generator, allowed_BK)
        if self.config.method == "pt":
            prompt_BPD = static_BPD
        elif self.config.skip:
            prompt_BPD = static_BPD + drawn_BPD
        else:
            prompt_BPD = drawn_BPD
        embeds_BLD = torch.cat([prompt_BPD.to(text_BSD.dtype), text_BSD], dim=1)
        mask_BL = nn.functional.pad(mask_BS, (self.config.prompt_length, 0), value=1)
        return Prompted(embeds_BLD, mask_BL, prompt_BPD, weight_BPK, self.config.quantizer.commitment * commitment)

    def _draw(
        self,
        static_BPD: Tensor,
        text_BSD: Tensor,
        mask_BS: Tensor,
        how: Evaluation | None,
        generator: torch.Generator | None,
        allowed_BK: Tensor | None,
    ) -> Quantized:
        """p^q, [B, P, D] fp32, of p^c, of what W_up makes p^c of, or of p; without a codebook p^c or p as they are."""

        def quantize(vector_BPD: Tensor) -> Quantized:
            if self.quantizer is None:
                return Quantized(vector_BPD, static_BPD.new_zeros(*static_BPD.shape[:2], 0), static_BPD.new_zeros(()))
            quantized: Quantized = self.quantizer(vector_BPD, how=how, generator=generator, allowed_BK=allowed_BK)
            return quantized

        if self.contextualizer is None:
            return quantize(static_BPD)
        hidden_BPC = self.contextualizer.encode(self.prompt_PD, text_BSD, mask_BS)
        if not self.config.quantizes_bottleneck:
            return quantize(self.contextualizer.expand(hidden_BPC).float())
        quantized = quantize(hidden_BPC)
        return quantized._replace(vector_BPD=self.contextualizer.expand(quantized.vector_BPD).float())
