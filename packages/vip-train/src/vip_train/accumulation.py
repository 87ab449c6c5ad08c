"""A batch taken in parts: less memory, the same step. B batch, P prompt tokens, K codes."""

from typing import NamedTuple

import torch
from torch import Tensor

from vip_train.data import Batch
from vip_train.engine import Engine


class Taken(NamedTuple):
    """The forward passes over this process's share of a batch."""

    loss: Tensor
    """What the engine's `step` is to be given; the gradients of the parts before the last are there already."""
    nll_B: Tensor
    """Negative log-likelihood of each whole target, in nats."""
    commitment: Tensor
    """Mean over the share of the commitment term."""
    weight_BPK: Tensor
    """The selection in the last part."""


def take(engine: Engine, batch: Batch, device: torch.device, *, micro_batch_size: int | None = None) -> Taken:
    """All of an optimizer step but the step itself, so that a caller can look at the losses first.

    Each part's loss counts by its share of the rows, so gradients are those of the mean over all of them. The codebook moves
    once, by all parts together. Every process has to come with as many rows.

    Args:
        engine: of this process.
        batch: on any device.
        device: where the model is; a part is moved there when its turn has come.
        micro_batch_size: rows of a part; None takes all at once.
    """
    rows = len(batch.input_ids)
    *earlier, last = batch.parts(micro_batch_size) if micro_batch_size is not None and micro_batch_size < rows else [batch]
    nll: list[Tensor] = []
    commitment: list[Tensor] = []

    def forward(part: Batch) -> tuple[Tensor, Tensor]:
        output = engine.forward(*part.to(device))
        share = len(part.input_ids) / rows
        nll.append(output.nll_B.detach())
        commitment.append(share * output.prompted.commitment.detach())
        return share * output.loss, output.prompted.weight_BPK

    with engine.adding():
        for part in earlier:
            engine.backward(forward(part)[0])
    loss, weight_BPK = forward(last)
    return Taken(loss, torch.cat(nll), torch.stack(commitment).sum(), weight_BPK)
