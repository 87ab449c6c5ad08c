"""What a code stands for, as far as it can be known: the words it lies next to, its place in the codebook, and its past.

K codes, D width, V vocabulary, T evaluations.
"""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from vip_train import Adapter

METRICS_FILE = "metrics.jsonl"
"""Of a run, in the folder above its adapter."""


class Near(NamedTuple):
    """A token of the vocabulary."""

    token: str
    """Without the mark of a word's start."""
    cosine: float


@torch.no_grad()
def nearest_words(adapter: Adapter, code: int, most: int = 10) -> list[Near]:
    """The vocabulary's nearest tokens by cosine similarity to what the backbone reads of a code, the nearest first.

    A code is added to the static prompt token, so what it lies next to is a hint and no translation. Special tokens are left
    out, and so are rows of the vocabulary that stand for no token.
    """
    tokenizer = adapter.tokenizer
    vector_D = adapter.model.prompt.code_vectors()[code]
    embedding_VD = adapter.model.backbone.get_input_embeddings().weight[: len(tokenizer)].float()
    cosine_V = torch.nn.functional.cosine_similarity(embedding_VD, vector_D[None].to(embedding_VD.device))
    cosine_V[[number for number in tokenizer.all_special_ids if number < len(cosine_V)]] = -2.0
    found = cosine_V.topk(min(2 * most, len(cosine_V)))
    tokens = tokenizer.convert_ids_to_tokens(found.indices.tolist())
    named = [
        Near(token.replace("\u2581", "") or "(space)", value)
        for token, value in zip(tokens, found.values.tolist(), strict=True)
        if value > -2.0
    ]
    return list({near.token: near for near in reversed(named)}.values())[::-1][:most]


class Map(NamedTuple):
    """The codebook in two dimensions."""

    place_K2: Tensor
    """Principal components of the codes as the backbone reads them."""
    explained: tuple[float, float]
    """Share of all variance along each of the two."""


@torch.no_grad()
def codebook_map(adapter: Adapter) -> Map:
    """Projects the codes onto their two directions of most variance (PCA).

    Raises:
        ValueError: the adapter has no codebook.
    """
    code_KD = adapter.model.prompt.code_vectors().cpu()
    if not len(code_KD):
        raise ValueError("the adapter has no codebook")
    centred_KD = code_KD - code_KD.mean(0)
    left_KR, size_R, _ = torch.linalg.svd(centred_KD, full_matrices=False)
    place_KR = torch.nn.functional.pad(left_KR * size_R, (0, 2))[:, :2]
    variance_R = torch.nn.functional.pad(size_R.square(), (0, 2))
    total = float(variance_R.sum()) or 1.0
    # A direction has no sign of its own: most of it points up.
    sign_2 = torch.where(place_KR.sum(0) < 0, -1.0, 1.0)
    return Map(place_KR * sign_2, (float(variance_R[0]) / total, float(variance_R[1]) / total))


class Trace(NamedTuple):
    """Use of codes in training."""

    step_T: tuple[int, ...]
    share_TK: Tensor
    """Of all weight in the evaluation after each of these steps, what each code took; all zero before codes are in use."""


def read_trace(folder: Path, codes: int) -> Trace | None:
    """What the run that an adapter comes from logged of its codes; None if there is no log, or it does not say.

    Args:
        folder: of the adapter; the log is looked for above it.
        codes: K.
    """
    path = folder.resolve().parent / METRICS_FILE
    steps: list[int] = []
    shares: list[list[float]] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if isinstance(share := record.get("validation_code_share_K"), list) and len(share) in (0, codes):
                    steps.append(int(record["step"]))
                    shares.append([float(value) for value in share] or [0.0] * codes)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # a log that was cut off or comes from another release says nothing that is missed
    return Trace(tuple(steps), torch.tensor(shares)) if codes and steps and any(map(any, shares)) else None
