"""Accuracy and code use of a prompt on a split. A answers."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from vip_train.data import collator, encode_answers
from vip_train.model import VIPModel
from vip_train.selection import Selection, SelectionTally
from vip_train.tasks import Example
from vip_train.world import World


class Evaluation(NamedTuple):
    """What an evaluation found."""

    accuracy: float
    """Share of examples whose likeliest answer is the right one."""
    nll: float
    """Mean negative log-likelihood of the right answer among all texts, in nats."""
    selection: Selection
    """Which codes were selected, and what they tell."""

    def record(self) -> dict[str, float | tuple[float, ...]]:
        """All values by name, without nesting."""
        return {"accuracy": self.accuracy, "nll": self.nll, **self.selection._asdict()}


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
    right, nll = 0.0, 0.0
    config = model.prompt.config
    tally = SelectionTally(examples, config.prompt_length, config.quantizer.codes if config.quantizes else 0, world.device)
    # Where the backbone is sharded a forward is a collective, so each process makes as many as the others. One that has no
    # example left reads the first again and does not count it.
    for start in range(0, len(examples), batch_size * world.size):
        rows = slice(start + world.rank, start + batch_size * world.size, world.size)
        part = examples[rows]
        batch = collate(part or examples[:1]).to(world.device)
        prompted = model.put_prompt(batch.input_ids, batch.attention_mask)
        nll_BA = model.score_answers(prompted, answers_AT)
        if not part:
            continue
        gold_B = torch.tensor([answers.index(example.target) for example in part], device=world.device)
        right += float((nll_BA.argmin(1) == gold_B).sum())
        nll += float(nll_BA.gather(1, gold_B[:, None]).sum())
        tally.add(prompted.weight_BPK, rows)
    model.train(was_training)
    right, nll = world.sum(right, nll)
    return Evaluation(right / len(examples), nll / len(examples), tally.result(world))


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
