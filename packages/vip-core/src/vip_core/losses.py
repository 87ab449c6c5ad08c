"""The two terms of the loss: CE + β · commitment (paper, section 3.3). B batch, P prompt, D width, T target, V vocabulary."""

from torch import Tensor, nn

IGNORED = -100
"""Label of target positions that do not count."""


def commitment_loss(context_BPD: Tensor, quantized_BPD: Tensor) -> Tensor:
    """mean((sg(p^q) - p^c)²), a scalar in squared units of what is quantised; zero for an empty batch.

    Its gradient, 2 (p^c - p^q) / (B·P·D), pulls contextual vectors to their codes; none reaches the codes.
    """
    total = nn.functional.mse_loss(context_BPD, quantized_BPD.detach(), reduction="sum")
    return total / max(context_BPD.numel(), 1)


def target_nll(logit_BTV: Tensor, label_BT: Tensor) -> Tensor:
    """Negative log-likelihood of each whole target, [B], in nats: summed over its tokens, in fp32.

    Positions labelled -100 do not count. The mean over the batch is the cross-entropy the paper's release trains on; for
    classification it compares directly with the entropy of the label distribution.
    """
    token_nll_BT = nn.functional.cross_entropy(
        logit_BTV.float().flatten(0, 1), label_BT.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return token_nll_BT.view(label_BT.shape).sum(1)
