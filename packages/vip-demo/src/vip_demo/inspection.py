"""What an adapter makes of texts: answers, the codes its prompt tokens took, the words they looked at. No page, no picture.

N texts, P prompt tokens, K codes, U codes in use, W words, D width, L positions the contextualizer reads.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from vip_core import perplexity, rollout, usage
from vip_core.config import Evaluation, Method
from vip_train import Adapter, Prediction, UserError, predict

LONGEST_TEXT = 20_000
"""Characters; a longer text is refused before it is tokenised."""
LEAST_SHARE = 1e-4
"""A code counts as in use when it took at least this share of all weight, as in `vip_core.used_share`."""


class Inspection(NamedTuple):
    """One text, seen through one adapter. The same fields for every method."""

    text: str
    """As it was given."""
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
    share_K: Tensor
    """Of all weight, what each code took, fp32; all zero where no code is in use."""
    code_U: tuple[int, ...]
    """Indices of the codes in use, by falling share; empty without a codebook and during its warm-up."""
    weight_PU: Tensor
    """How much of each of these codes each prompt token took, fp32; rows sum to one up to `LEAST_SHARE`."""
    perplexity: float
    """exp(entropy) of all codes' shares, 1 to K; 0 where no code is in use."""
    words: tuple[str, ...]
    """The text at its white space; empty for a method whose prompt does not look at the text."""
    attention_PW: Tensor
    """Of what each prompt token reads of the text, the share of each word, fp32; rows sum to one. See `vip_core.rollout`."""
    prompt_PD: Tensor
    """What the backbone read before the text, fp32."""


def inspect(
    adapter: Adapter,
    texts: Sequence[str],
    how: Evaluation = "expected",
    *,
    seed: int = 0,
    allowed_NK: Tensor | None = None,
) -> list[Inspection]:
    """Answers texts and says which codes each selected, in order.

    Args:
        adapter: from `vip_train.load_adapter`.
        texts: in the wording of the adapter's task.
        how: selection of codes; `sample` draws from `seed`, for each text anew, so that it does not depend on the others.
        seed: of the draws.
        allowed_NK: bool, the codes each text may select from, as if there were no others; all of them when None.

    Raises:
        UserError: a text is empty or longer than the adapter reads.
        ValueError: a text is allowed no code.
    """
    for text in texts:
        check(adapter, text)
    apart = [slice(row, row + 1) for row in range(len(texts))] if how == "sample" else [slice(0, len(texts))]
    device = adapter.model.prompt.prompt_PD.device
    predictions: list[Prediction] = []
    # The caller's own random numbers go on afterwards as if nothing had been drawn.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for part in apart:
            torch.manual_seed(seed)
            allowed = None if allowed_NK is None else allowed_NK[part]
            predictions += predict(adapter, texts[part], how=how, allowed_NK=allowed)
    looks = look_at_words(adapter, texts)
    return [_seen(adapter, how, *each) for each in zip(texts, predictions, looks, strict=True)]


def check(adapter: Adapter, text: str) -> int:
    """Refuses what the adapter would answer without having read it whole; returns the number of its tokens.

    Raises:
        UserError: the text is empty, no text, or longer than the adapter reads.
    """
    if not text.strip():
        raise UserError("There is no text yet: type one first.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError("The text holds half of a character (a lone surrogate), which is no text.")
    if len(text) > LONGEST_TEXT:
        raise UserError(f"The text has {len(text):,} characters, at most {LONGEST_TEXT:,} are read: shorten it.")
    limit = adapter.config.max_source_length
    if (tokens := len(adapter.tokenizer(text)["input_ids"])) > limit:
        raise UserError(f"The text has {tokens:,} tokens, this adapter reads {limit:,}: shorten it.")
    return tokens


class Look(NamedTuple):
    """Where the prompt looks in one text."""

    words: tuple[str, ...]
    attention_PW: Tensor


@torch.no_grad()
def look_at_words(adapter: Adapter, texts: Sequence[str]) -> list[Look]:
    """The words of each text and how much each prompt token reads of them; no words without a contextualizer.

    What is read through all layers is followed back to the tokens (`vip_core.rollout`) and added up by word.

    Args:
        adapter: whose contextualizer is asked.
        texts: that it can read whole.
    """
    prompt, tokenizer = adapter.model.prompt, adapter.tokenizer
    length = prompt.config.prompt_length
    if not texts or prompt.contextualizer is None or not tokenizer.is_fast:  # only fast ones know where a token stands
        return [Look((), torch.zeros(length, 0)) for _ in texts]
    encoded = tokenizer(list(texts), padding=True, return_offsets_mapping=True, return_tensors="pt")
    device = prompt.prompt_PD.device
    text_BSD = adapter.model.backbone.get_input_embeddings()(encoded["input_ids"].to(device))
    mask_BS = encoded["attention_mask"].to(device)
    read_BPS = rollout(prompt.contextualizer.attention(prompt.prompt_PD, text_BSD, mask_BS))[:, :length, length:].cpu()
    looks = []
    for text, read_PS, span_S2 in zip(texts, read_BPS, encoded["offset_mapping"].tolist(), strict=True):
        words = list(re.finditer(r"\S+", text))
        attention_PW = torch.zeros(length, len(words))
        for position, (start, end) in enumerate(span_S2):
            for number, word in enumerate(words):
                if start < word.end() and end > word.start():  # a special token has no extent
                    attention_PW[:, number] += read_PS[:, position]
                    break
        total_P1 = attention_PW.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        looks.append(Look(tuple(word[0] for word in words), attention_PW / total_P1))
    return looks


def _seen(adapter: Adapter, how: Evaluation, text: str, prediction: Prediction, look: Look) -> Inspection:
    weight_PK = prediction.weight_PK.float()
    share_K = usage(weight_PK[None])
    order_K = share_K.argsort(descending=True, stable=True)
    order_U = order_K[share_K[order_K] >= LEAST_SHARE]
    return Inspection(
        text=text,
        answer=prediction.answer,
        probability=prediction.probability,
        method=adapter.config.vip.method,
        how=how,
        codes=weight_PK.shape[1],
        share_K=share_K,
        code_U=tuple(order_U.tolist()),
        weight_PU=weight_PK[:, order_U],
        perplexity=float(perplexity(share_K)) if len(order_U) else 0.0,
        words=look.words,
        attention_PW=look.attention_PW,
        prompt_PD=prediction.prompt_PD,
    )
