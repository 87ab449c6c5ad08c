"""Answers texts with an adapter and says which codes each one selected. B batch, P prompt tokens, K codes."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from vip_core.config import Evaluation

from vip_train.adapter import Adapter
from vip_train.data import encode_answers, encode_sources


class Prediction(NamedTuple):
    """The answer to one text."""

    answer: str
    """The likeliest of the fixed answers, or what the decoder wrote."""
    probability: dict[str, float]
    """Of each fixed answer, summing to one; empty where the answer is free text."""
    weight_PK: Tensor
    """How much of each code each prompt token took; K = 0 for an adapter without a codebook."""


@torch.no_grad()
def predict(
    adapter: Adapter, sources: Sequence[str], *, how: Evaluation | None = None, batch_size: int = 32, max_new_tokens: int = 16
) -> Iterator[Prediction]:
    """Answers source texts, in order.

    Where the adapter's task has fixed answers they are scored, so the answer is always one of them; otherwise it is written
    greedily.

    Args:
        adapter: from `load_adapter`.
        sources: texts in the wording of the adapter's task.
        how: overrides how codes are selected.
        batch_size: texts per pass.
        max_new_tokens: limit of a written answer.
    """
    model, tokenizer, config = adapter
    device = model.prompt.prompt_PD.device
    model.eval()
    for at in range(0, len(sources), batch_size):
        encoded = encode_sources(sources[at : at + batch_size], tokenizer, config.max_source_length)
        input_ids, mask = encoded.input_ids.to(device), encoded.attention_mask.to(device)
        prompted = model.put_prompt(input_ids, mask, how=how)
        if config.answers:
            nll_BA = model.score_answers(prompted, encode_answers(config.answers, tokenizer).to(device))
            for probability_A, weight_PK in zip(nll_BA.neg().softmax(1).tolist(), prompted.weight_BPK.cpu(), strict=True):
                probability = dict(zip(config.answers, probability_A, strict=True))
                yield Prediction(max(probability, key=probability.__getitem__), probability, weight_PK)
        else:
            written = model.write(prompted, max_new_tokens=max_new_tokens)
            texts = tokenizer.batch_decode(written, skip_special_tokens=True)
            for text, weight_PK in zip(texts, prompted.weight_BPK.cpu(), strict=True):
                yield Prediction(text, {}, weight_PK)
