"""Makes prompt tokens depend on the input: p^c = W_up Encoder(W_down [p ; x])[:, :P] (paper, section 3.1).

B batch, S source tokens, P prompt tokens, D backbone width, C contextualizer width.
"""

import torch
from torch import Tensor, nn

from vip_core.config import ContextualizerConfig


class Contextualizer(nn.Module):
    """A narrow transformer encoder over prompt and text, without positional encoding.

    Prompt positions are always attended to, padding never is. Cost is that of the bottleneck: D·C per token for the two
    projections and C-wide layers over P + S tokens.

    Args:
        config: sizes and normalisation.
        dim: D.
        scale: root mean square of the vocabulary's entries, so that p^c starts on the scale the backbone reads.
            Used by `norm="pre"` only.
    """

    scale: Tensor

    def __init__(self, config: ContextualizerConfig, dim: int, *, scale: float = 1.0) -> None:
        super().__init__()
        pre = config.norm == "pre"
        self.norm_in = nn.LayerNorm(dim) if pre else nn.Identity()
        self.down = nn.Linear(dim, config.width)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(
                config.width,
                config.heads,
                config.feedforward,
                config.dropout,
                config.activation,
                batch_first=True,
                norm_first=pre,
            ),
            config.layers,
            norm=nn.LayerNorm(config.width) if pre else None,
            enable_nested_tensor=False,
        )
        self.up = nn.Linear(config.width, dim)
        self.register_buffer("scale", torch.tensor(scale if pre else 1.0))

    def forward(self, prompt_PD: Tensor, text_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """Contextual prompt vectors.

        Args:
            prompt_PD: the static prompt.
            text_BSD: embedded input text, any floating dtype; computed in the dtype of this module's weights.
            mask_BS: true or nonzero where `text_BSD` holds a token. A row may be all padding, B may be 0.

        Returns:
            p^c, [B, P, D], independent of how far the text is padded.
        """
        if len(text_BSD) == 0:
            # torch's attention refuses an empty batch. A blank row, dropped again, keeps this rank's gradients zero, not None.
            blank_1SD, blank_1S = text_BSD.new_zeros(1, *text_BSD.shape[1:]), mask_BS.new_zeros(1, *mask_BS.shape[1:])
            return self.forward(prompt_PD, blank_1SD, blank_1S)[:0]
        prompt_BPD = prompt_PD.expand(len(text_BSD), -1, -1)
        input_BLD = torch.cat([prompt_BPD, text_BSD], dim=1).to(self.down.weight.dtype)
        hidden_BLC = self.down(self.norm_in(input_BLD))
        ignored_BL = nn.functional.pad(mask_BS == 0, (prompt_PD.shape[0], 0), value=False)
        hidden_BPC = self.encoder(hidden_BLC, src_key_padding_mask=ignored_BL)[:, : prompt_PD.shape[0]]
        contextual_BPD: Tensor = self.scale * self.up(hidden_BPC)
        return contextual_BPD
