"""Answers texts with one adapter or several and says which codes each text selected.

B batch, P prompt tokens, K codes, N texts.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from vip_core import Prompted
from vip_core.config import Evaluation

from vip_train.adapter import Adapter
from vip_train.data import encode_answers, encode_sources
from vip_train.mixed import put_prompts


class Prediction(NamedTuple):
    """The answer to one text."""

    answer: str
    """The likeliest of the fixed answers, or what the decoder wrote."""
    probability: dict[str, float]
    """Of each fixed answer, summing to one; empty where the answer is free text."""
    weight_PK: Tensor
    """How much of each code each prompt token took; K = 0 for an adapter without a codebook."""
    source_tokens: int
    """How many tokens of the text were read, `</s>` among them."""
    prompt_PD: Tensor
    """What the backbone read before the text, fp32."""


def predict(
    adapter: Adapter,
    sources: Sequence[str],
    *,
    how: Evaluation | None = None,
    allowed_NK: Tensor | None = None,
    batch_size: int = 32,
    max_new_tokens: int = 16,
) -> Iterator[Prediction]:
    """Answers source texts, in order.

    Where the adapter's task has fixed answers they are scored, so the answer is always one of them; otherwise it is written
    greedily.

    Args:
        adapter: from `load_adapter`.
        sources: texts in the wording of the adapter's task.
        how: overrides how codes are selected.
        allowed_NK: bool, the codes each of N texts may select from, as if there were no others; all of them when None.
        batch_size: texts per pass.
        max_new_tokens: limit of a written answer.

    Raises:
        ValueError: `allowed_NK` leaves a text no code.
    """
    named = [("", source) for source in sources]
    return predict_mixed(
        {"": adapter}, named, how=how, allowed_NK=allowed_NK, batch_size=batch_size, max_new_tokens=max_new_tokens
    )


@torch.no_grad()
def predict_mixed(
    adapters: Mapping[str, Adapter],
    sources: Sequence[tuple[str, str]],
    *,
    how: Evaluation | None = None,
    allowed_NK: Tensor | None = None,
    batch_size: int = 32,
    max_new_tokens: int = 16,
) -> Iterator[Prediction]:
    """Answers source texts, in order, each with the adapter it names, as `predict` would with that adapter alone.

    The rows of a batch pass through the backbone together whatever their adapters; those that are scored and those that are
    written are two passes.

    Args:
        adapters: by name, all loaded with one backbone: `load_adapter(..., backbone=backbone)`.
        sources: pairs of an adapter's name and a text in the wording of its task.
        how: overrides how codes are selected.
        allowed_NK: bool, the codes each of N texts may select from, counted in those of its own adapter.
        batch_size: texts per pass.
        max_new_tokens: limit of a written answer.

    Raises:
        ValueError: an adapter is unknown, or has a backbone of its own; or `allowed_NK` leaves a text no code.
    """
    models = {name: adapter.model.eval() for name, adapter in adapters.items()}
    for at in range(0, len(sources), batch_size):
        names, texts = zip(*sources[at : at + batch_size], strict=True)
        if unknown := [name for name in names if name not in adapters]:
            raise ValueError(f"sources: adapter {unknown[0]!r} is unknown, there are {', '.join(map(repr, adapters))}")
        chosen = [adapters[name] for name in names]
        model, tokenizer = chosen[0].model, chosen[0].tokenizer
        encoded = encode_sources(texts, tokenizer, [adapter.config.max_source_length for adapter in chosen])
        device = model.prompt.prompt_PD.device
        ids, mask = encoded.input_ids.to(device), encoded.attention_mask.to(device)
        allowed = None if allowed_NK is None else allowed_NK[at : at + batch_size].to(device)
        prompted = put_prompts(models, names, ids, mask, how=how, allowed_BK=allowed)
        scored = [row for row, adapter in enumerate(chosen) if adapter.config.answers]
        written = [row for row, adapter in enumerate(chosen) if not adapter.config.answers]
        probabilities = dict(zip(scored, _scores(chosen, prompted, scored), strict=True))
        answers = {row: max(found, key=found.__getitem__) for row, found in probabilities.items()}
        if written:
            # Said in full, for a backbone may come with settings of its own for writing.
            ids = model.write(_rows(prompted, written), max_new_tokens=max_new_tokens, do_sample=False, num_beams=1)
            answers |= zip(written, tokenizer.batch_decode(ids, skip_special_tokens=True), strict=True)
        tokens = encoded.attention_mask.sum(1).tolist()
        read = zip(prompted.weight_BPK.cpu(), prompted.prompt_BPD.cpu(), strict=True)
        for row, (weight_PK, prompt_PD) in enumerate(read):
            vip = chosen[row].model.prompt.config
            own_PK = weight_PK[: vip.prompt_length, : vip.quantizer.codes if vip.quantizes else 0]
            yield Prediction(answers[row], probabilities.get(row, {}), own_PK, tokens[row], prompt_PD[: vip.prompt_length])


def _scores(chosen: Sequence[Adapter], prompted: Prompted, rows: Sequence[int]) -> list[dict[str, float]]:
    """The probability of each fixed answer of each of these rows' adapters, from one pass."""
    if not rows:
        return []
    answers = [chosen[row].config.answers for row in rows]
    adapter, device = chosen[0], prompted.mask_BL.device
    label_NT = encode_answers([answer for own in answers for answer in own], adapter.tokenizer).to(device)
    row_N = torch.tensor([place for place, own in enumerate(answers) for _ in own], device=device)
    nll_N = adapter.model.score_targets(_rows(prompted, rows), row_N, label_NT)
    each = nll_N.split([len(own) for own in answers])
    return [dict(zip(own, nll_A.neg().softmax(0).tolist(), strict=True)) for own, nll_A in zip(answers, each, strict=True)]


def _rows(prompted: Prompted, rows: Sequence[int]) -> Prompted:
    chosen = list(rows)
    return prompted._replace(
        embeds_BLD=prompted.embeds_BLD[chosen],
        mask_BL=prompted.mask_BL[chosen],
        prompt_BPD=prompted.prompt_BPD[chosen],
        weight_BPK=prompted.weight_BPK[chosen],
    )
