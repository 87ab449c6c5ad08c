"""What vip_core is compared with: the formulation of the paper's release, written anew, and vector-quantize-pytorch.

B batch, P prompt tokens, S source tokens, D backbone width, N = B·P prompt vectors, K codes.
"""

import torch
import vector_quantize_pytorch
from torch import Tensor, nn
from torch.distributions import Multinomial

DECAY, SMOOTHING, TEMPERATURE, BETA = 0.99, 1e-2, 100.0, 0.1


class ReleaseQuantizer(nn.Module):
    """Draws by torch.distributions.Multinomial, within autograd's graph, from a codebook that is a new Parameter each step.

    Its smoothed count is written back and no sum is kept. It reads two numbers back to the host in each step, to print them.
    """

    def __init__(self, start_KD: Tensor, draws: int, *, every_draw: bool = False) -> None:
        super().__init__()
        self.codebook = nn.Parameter(start_KD.clone())
        self.register_buffer("count_K", torch.full((len(start_KD),), 1 / len(start_KD), device=start_KD.device))
        self.draws, self.every_draw = draws, every_draw
        self.perplexities: list[Tensor] = []

    def forward(self, context_BPD: Tensor) -> tuple[Tensor, Tensor]:
        vector_ND = context_BPD.reshape(-1, context_BPD.shape[-1])
        code_KD, codes = self.codebook, len(self.codebook)
        distance_NK = (vector_ND**2).sum(1, keepdim=True) + (code_KD**2).sum(1) - 2 * vector_ND @ code_KD.t()
        logit_NK = (-distance_NK - 1e-5) / TEMPERATURE
        if self.every_draw:
            drawn_NK = Multinomial(1, logits=logit_NK).sample((self.draws,)).sum(0)
        else:
            drawn_NK = Multinomial(self.draws, logits=logit_NK).sample()
        quantized_BPD = (drawn_NK @ code_KD).view(context_BPD.shape) / self.draws
        commitment = ((quantized_BPD.detach() - context_BPD) ** 2).mean()

        count_K = self.count_K * DECAY + (1 - DECAY) * drawn_NK.sum(0) / self.draws
        total = count_K.sum()
        self.count_K = (count_K + SMOOTHING) / (total + codes * SMOOTHING) * total
        drawn_KD = drawn_NK.t() @ vector_ND / self.draws
        self.codebook = nn.Parameter(code_KD * DECAY + (1 - DECAY) * drawn_KD / self.count_K[:, None])

        share_K = drawn_NK.mean(0) / self.draws
        self.perplexities = [*self.perplexities[-99:], (-(share_K * (share_K + 1e-10).log()).sum()).exp().detach()]
        _ = commitment.item(), (sum(self.perplexities) / torch.tensor(len(self.perplexities))).item()
        return context_BPD + (quantized_BPD - context_BPD).detach(), commitment


class PlainContextualizer(nn.Module):
    """The paper's contextualizer as PyTorch's own encoder over prompt and text, of which the first P positions are kept."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64)
        self.down, self.up = nn.Linear(dim, 32), nn.Linear(32, dim)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, prompt_PD: Tensor, text_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        input_BLD = torch.cat([prompt_PD.expand(len(text_BSD), -1, -1), text_BSD], 1)
        attended_BL = torch.cat([mask_BS.new_ones(len(mask_BS), len(prompt_PD)), mask_BS], 1).bool()
        hidden_LBC = self.encoder(self.down(input_BLD).transpose(0, 1), src_key_padding_mask=~attended_BL)
        return self.up(hidden_LBC.transpose(0, 1)[:, : len(prompt_PD)])


class OtherPrompt(nn.Module):
    """[p + p^q ; x] out of a contextualizer and a quantizer that returns p^q and a commitment loss."""

    def __init__(self, contextualizer: nn.Module, quantizer: nn.Module, start_PD: Tensor) -> None:
        super().__init__()
        self.contextualizer, self.quantizer, self.prompt_PD = contextualizer, quantizer, nn.Parameter(start_PD.clone())

    def forward(self, text_BSD: Tensor, mask_BS: Tensor) -> tuple[Tensor, Tensor]:
        quantized_BPD, commitment = self.quantizer(self.contextualizer(self.prompt_PD, text_BSD, mask_BS))
        return torch.cat([self.prompt_PD + quantized_BPD, text_BSD], 1), BETA * commitment


class LibraryQuantizer(nn.Module):
    def __init__(self, dim: int, codes: int) -> None:
        super().__init__()
        self.library = vector_quantize_pytorch.VectorQuantize(dim=dim, codebook_size=codes, decay=DECAY, commitment_weight=1.0)

    def forward(self, context_BPD: Tensor) -> tuple[Tensor, Tensor]:
        quantized_BPD, _, commitment = self.library(context_BPD)
        return quantized_BPD, commitment.sum()
