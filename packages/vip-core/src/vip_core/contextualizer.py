"""Makes prompt tokens depend on the input: h = Encoder(W_down [p ; x])[:, :P], p^c = W_up h (paper, section 3.1).

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
        """p^c, [B, P, D]: `encode`, whose arguments these are, then `expand`."""
        return self.expand(self.encode(prompt_PD, text_BSD, mask_BS))

    def expand(self, hidden_BPC: Tensor) -> Tensor:
        """W_up, from the bottleneck to the backbone's width, on the scale of the vocabulary."""
        contextual_BPD: Tensor = self.scale * self.up(hidden_BPC)
        return contextual_BPD

    @torch.no_grad()
    def place(self, row_KD: Tensor) -> Tensor:
        """Where vocabulary rows would lie among the bottleneck's vectors if they attended to nothing, [K, C]."""
        row_KC: Tensor = self.down(self.norm_in(row_KD.to(self.down.weight.dtype)))
        return nn.functional.layer_norm(row_KC, row_KC.shape[-1:])  # both forms of the encoder end in one

    def encode(self, prompt_PD: Tensor, text_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """Contextual prompt vectors in the bottleneck.

        Args:
            prompt_PD: the static prompt.
            text_BSD: embedded input text, any floating dtype; computed in the dtype of this module's weights.
            mask_BS: true or nonzero where `text_BSD` holds a token. A row may be all padding, B may be 0.

        Returns:
            h, [B, P, C], independent of how far the text is padded.
        """
        if len(text_BSD) == 0:
            # torch's attention refuses an empty batch. A blank row, dropped again, keeps this rank's gradients zero, not None.
            blank_1SD, blank_1S = text_BSD.new_zeros(1, *text_BSD.shape[1:]), mask_BS.new_zeros(1, *mask_BS.shape[1:])
            return self.encode(prompt_PD, blank_1SD, blank_1S)[:0]
        hidden_BLC, ignored_BL = self._read(prompt_PD, text_BSD, mask_BS)
        *layers, last = self.encoder.layers
        for layer in layers:
            hidden_BLC = layer(hidden_BLC, src_key_padding_mask=ignored_BL)
        hidden_BPC = _first_positions(last, hidden_BLC, len(prompt_PD), ignored_BL)
        return hidden_BPC if self.encoder.norm is None else self.encoder.norm(hidden_BPC)

    @torch.no_grad()
    def attention(self, prompt_PD: Tensor, text_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """Where each position looks in each layer, [layers, B, L, L] with L = P + S, mean over heads; rows sum to one.

        For a look inside; the arguments are those of `encode`. `statistics.rollout` joins the layers.
        """
        hidden_BLC, ignored_BL = self._read(prompt_PD, text_BSD, mask_BS)
        found = []
        for layer in self.encoder.layers:
            read_BLC = layer.norm1(hidden_BLC) if layer.norm_first else hidden_BLC
            _, weight_BLL = layer.self_attn(read_BLC, read_BLC, read_BLC, key_padding_mask=ignored_BL, need_weights=True)
            found.append(weight_BLL)
            hidden_BLC = layer(hidden_BLC, src_key_padding_mask=ignored_BL)
        return torch.stack(found).float()

    def _read(self, prompt_PD: Tensor, text_BSD: Tensor, mask_BS: Tensor) -> tuple[Tensor, Tensor]:
        """W_down [p ; x], and where nobody may look."""
        dtype = self.down.weight.dtype
        # Token by token, so that the prompt goes down once for all rows and [p ; x] is never made in D numbers per token.
        prompt_PC, text_BSC = (self.down(self.norm_in(part.to(dtype))) for part in (prompt_PD, text_BSD))
        hidden_BLC = torch.cat([prompt_PC.expand(len(text_BSC), -1, -1), text_BSC], dim=1)
        return hidden_BLC, nn.functional.pad(mask_BS == 0, (len(prompt_PD), 0), value=False)


def _first_positions(layer: nn.TransformerEncoderLayer, hidden_BLC: Tensor, count: int, ignored_BL: Tensor) -> Tensor:
    """`layer(hidden_BLC)[:, :count]`, in which no other position asks: what the text would become is read by nobody."""
    before, hidden_BPC = layer.norm_first, hidden_BLC[:, :count]
    read_BLC = layer.norm1(hidden_BLC) if before else hidden_BLC
    attended_BPC, _ = layer.self_attn(read_BLC[:, :count], read_BLC, read_BLC, key_padding_mask=ignored_BL, need_weights=False)
    hidden_BPC = hidden_BPC + layer.dropout1(attended_BPC)
    hidden_BPC = hidden_BPC if before else layer.norm1(hidden_BPC)
    read_BPC = layer.norm2(hidden_BPC) if before else hidden_BPC
    hidden_BPC = hidden_BPC + layer.dropout2(layer.linear2(layer.dropout(layer.activation(layer.linear1(read_BPC)))))
    after_BPC: Tensor = hidden_BPC if before else layer.norm2(hidden_BPC)
    return after_BPC
