"""One frozen backbone, several adapters: a batch whose rows each name the adapter that reads them.

Adapters differ in method, prompt length P and number of codes K. Only the prompts are made one adapter after another, and they
are small; the backbone reads all rows at once.

B batch, S source tokens, P prompt tokens, L positions the encoder reads, D width, K codes.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad
from vip_core import Prompted
from vip_core.config import Evaluation

from vip_train.model import VIPModel


def put_prompts(
    models: Mapping[str, VIPModel],
    names: Sequence[str],
    input_ids: Tensor,
    attention_mask: Tensor,
    *,
    how: Evaluation | None = None,
    allowed_BK: Tensor | None = None,
) -> Prompted:
    """Puts before each text the prompt of the model its row names.

    Every model's `write`, `score_answers` and `score_targets` accept the result and answer alike: they read it with the one
    backbone. A row reads what it would read alone, its prompt directly before its text; all padding is at the end, where T5's
    relative positions do not see it.

    Args:
        models: around one and the same backbone, by name.
        names: of the model of each row; B of them, at least one.
        input_ids: [B, S] source token ids, padded anywhere.
        attention_mask: [B, S], 1 where there is a token.
        how: overrides the selection of codes.
        allowed_BK: bool, the codes each row may select from, counted in the codes of its own model; what is beyond is not read.

    Returns:
        As of `VIPModel.put_prompt`. Row i of `prompt_BPD` and `weight_BPK` counts in the P and K of its own model and is zero
        beyond; `commitment` is the mean over rows.

    Raises:
        ValueError: a name is unknown, the number of names is not B, or the models do not share their backbone.
    """
    backbone = next(iter(models.values())).backbone if models else None
    if apart := [name for name, model in models.items() if model.backbone is not backbone]:
        raise ValueError(
            f"models: {', '.join(map(repr, apart))} has a backbone of its own; load all adapters with one backbone"
        )
    if unknown := [name for name in names if name not in models]:
        raise ValueError(f"names: {unknown[0]!r} is unknown, there are {', '.join(map(repr, models)) or 'none'}")
    if not names or len(names) != len(input_ids):
        raise ValueError(f"names: {len(names)} of them for {len(input_ids)} rows; each row needs one, and there must be a row")
    parts: list[Prompted] = []
    order: list[int] = []
    for name in dict.fromkeys(names):
        rows = [row for row, other in enumerate(names) if other == name]
        codes = models[name].prompt.config.quantizer.codes
        allowed = None if allowed_BK is None else allowed_BK[rows, :codes]
        parts.append(models[name].put_prompt(input_ids[rows], attention_mask[rows], how=how, allowed_BK=allowed))
        order += rows
    back_B = torch.tensor(order, device=input_ids.device).argsort()
    mask_BL = _stacked([part.mask_BL for part in parts])[back_B]
    read = int(mask_BL.sum(1).max())
    return Prompted(
        embeds_BLD=_stacked([part.embeds_BLD for part in parts])[back_B, :read],
        mask_BL=mask_BL[:, :read],
        prompt_BPD=_stacked([part.prompt_BPD for part in parts])[back_B],
        weight_BPK=_stacked([part.weight_BPK for part in parts])[back_B],
        commitment=torch.stack([len(part.mask_BL) * part.commitment for part in parts]).sum() / len(names),
    )


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Batches one below the other, each padded with zeros at the end of its other axes to the largest of all."""
    shape = [max(tensor.shape[axis] for tensor in tensors) for axis in range(1, tensors[0].ndim)]
    # torch counts padding from the last axis backwards, two numbers an axis.
    missing = [
        [number for axis in reversed(range(len(shape))) for number in (0, shape[axis] - tensor.shape[axis + 1])]
        for tensor in tensors
    ]
    return torch.cat([pad(tensor, amount) for tensor, amount in zip(tensors, missing, strict=True)])
