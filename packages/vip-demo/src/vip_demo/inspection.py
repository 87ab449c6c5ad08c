"""What an adapter makes of one text: its answer, and the codes its prompt tokens took. No page, no picture.

P prompt tokens, K codes, U codes in use.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from vip_core import perplexity, usage
from vip_core.config import Evaluation, Method
from vip_train import Adapter, UserError, predict

LONGEST_TEXT = 20_000
"""Characters; a longer text is refused before it is tokenised."""
LEAST_SHARE = 1e-4
"""A code counts as in use when it took at least this share of all weight, as in `vip_core.used_share`."""


class Inspection(NamedTuple):
    """One text, seen through one adapter. The same fields for every method."""

    answer: str
    """The likeliest of the task's fixed answers, or what the decoder wrote."""
    probability: dict[str, float]
    """Of each fixed answer, summing to one; empty where the answer is free text."""
    method: Method
    """How the adapter's prompt is built."""
    how: Evaluation
    """How codes were selected."""
    codes: int
    """K; 0 for an adapter without a codebook."""
    code_U: tuple[int, ...]
    """Indices of the codes in use, by falling total weight; empty without a codebook and during its warm-up."""
    weight_PU: Tensor
    """How much of each of these codes each prompt token took, fp32; rows sum to one up to `LEAST_SHARE`."""
    perplexity: float
    """exp(entropy) of all codes' shares, 1 to K; 0 where no code is in use."""


def inspect(adapter: Adapter, text: str, how: Evaluation = "expected", *, seed: int = 0) -> Inspection:
    """Answers one text and says which codes it selected.

    Args:
        adapter: from `vip_train.load_adapter`.
        text: in the wording of the adapter's task.
        how: selection of codes; `sample` draws from `seed`.
        seed: of the draws.

    Raises:
        UserError: the text is empty or longer than the adapter reads.
    """
    _check(adapter, text)
    device = adapter.model.prompt.prompt_PD.device
    # The caller's own random numbers go on afterwards as if nothing had been drawn.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        prediction = next(predict(adapter, [text], how=how))
    weight_PK = prediction.weight_PK.float()
    share_K = usage(weight_PK[None])
    order_K = share_K.argsort(descending=True, stable=True)
    order_U = order_K[share_K[order_K] >= LEAST_SHARE]
    return Inspection(
        answer=prediction.answer,
        probability=prediction.probability,
        method=adapter.config.vip.method,
        how=how,
        codes=weight_PK.shape[1],
        code_U=tuple(order_U.tolist()),
        weight_PU=weight_PK[:, order_U],
        perplexity=float(perplexity(share_K)) if len(order_U) else 0.0,
    )


def _check(adapter: Adapter, text: str) -> None:
    """Refuses what the adapter would answer without having read it whole."""
    if not text.strip():
        raise UserError("There is no text yet: type one first.")
    if len(text) > LONGEST_TEXT:
        raise UserError(f"The text has {len(text):,} characters, at most {LONGEST_TEXT:,} are read: shorten it.")
    limit = adapter.config.max_source_length
    if (tokens := len(adapter.tokenizer(text)["input_ids"])) > limit:
        raise UserError(f"The text has {tokens:,} tokens, this adapter reads {limit:,}: shorten it.")
