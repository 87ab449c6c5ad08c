"""Accuracy and code use of a prompt on a split. A answers, K codes."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase
from vip_core import perplexity, usage, used_share

from vip_train.data import collator, encode_answers
from vip_train.engine import World
from vip_train.model import VIPModel
from vip_train.tasks import Example


class Evaluation(NamedTuple):
    """What an evaluation found."""

    accuracy: float
    """Share of examples whose likeliest answer is the right one."""
    nll: float
    """Mean negative log-likelihood of the right answer among all texts, in nats."""
    code_perplexity: float
    """exp(entropy) of the codes' shares, 1 to K; 0 without a codebook or before it is in use."""
    codes_used: float
    """Share of the codes that took at least 1e-4 of all weight."""


@torch.no_grad()
def evaluate(
    model: VIPModel,
    examples: Sequence[Example],
    answers: tuple[str, ...],
    tokenizer: PreTrainedTokenizerBase,
    world: World,
    *,
    max_source_length: int,
    batch_size: int = 64,
) -> Evaluation:
    """Scores every example once, over all processes together, by the likeliest of the task's answers."""
    was_training = model.training
    model.eval()
    collate = collator(tokenizer, max_source_length)
    answers_AT = encode_answers(answers, tokenizer).to(world.device)
    mine = examples[world.rank :: world.size]
    right, nll = 0.0, 0.0
    config = model.prompt.config
    weight_K = torch.zeros(config.quantizer.codes if config.quantizes else 0, device=world.device)
    for at in range(0, len(mine), batch_size):
        part = mine[at : at + batch_size]
        batch = collate(part).to(world.device)
        prompted = model.put_prompt(batch.input_ids, batch.attention_mask)
        nll_BA = model.score_answers(prompted, answers_AT)
        gold_B = torch.tensor([answers.index(example.target) for example in part], device=world.device)
        right += float((nll_BA.argmin(1) == gold_B).sum())
        nll += float(nll_BA.gather(1, gold_B[:, None]).sum())
        weight_K += prompted.weight_BPK.sum((0, 1))
    model.train(was_training)
    right, nll, count = world.sum(right, nll, len(mine))
    world.sum_(weight_K)
    in_use = bool(weight_K.sum() > 0)
    share_K = usage(weight_K[None, None])
    return Evaluation(
        accuracy=right / count,
        nll=nll / count,
        code_perplexity=float(perplexity(share_K)) if in_use else 0.0,
        codes_used=float(used_share(share_K)) if in_use else 0.0,
    )


class Baseline(NamedTuple):
    """What can be had without reading the text."""

    majority: float
    """Accuracy of always giving the training split's most frequent answer."""
    entropy: float
    """Entropy of the training split's answers in nats: the loss of the best constant prediction."""


def baseline(train: Sequence[Example], validation: Sequence[Example]) -> Baseline:
    """Constant predictions, to be shown beside every accuracy."""
    counts = Counter(example.target for example in train)
    most = counts.most_common(1)[0][0]
    entropy = sum(count / len(train) * math.log(len(train) / count) for count in counts.values())
    return Baseline(sum(example.target == most for example in validation) / len(validation), entropy)
