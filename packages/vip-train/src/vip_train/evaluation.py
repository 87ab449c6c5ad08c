"""Accuracy and code use of a prompt on a split. B batch, N examples."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from vip_train.answering import Answering, Choosing, Writing
from vip_train.metrics import Metric, exact_match
from vip_train.model import VIPModel
from vip_train.selection import Selection, SelectionTally
from vip_train.tasks import Example
from vip_train.tokenised import TokenisedSplit
from vip_train.world import World


class Evaluation(NamedTuple):
    """What an evaluation found."""

    accuracy: float
    """The metric; share of examples that were answered exactly right, unless another one was asked for."""
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
    split: TokenisedSplit,
    answers: tuple[str, ...],
    tokenizer: PreTrainedTokenizerBase,
    world: World,
    *,
    metric: Metric = exact_match,
    batch_size: int = 64,
) -> Evaluation:
    """Answers every example once, over all processes together.

    The batches, of neighbours in length, are the same on any number of processes, so answers and likelihoods are too.

    Args:
        model: any mode; it is restored.
        split: what is answered.
        answers: the likeliest of these is the answer; none: it is written, and the bits on labels are 0.
        tokenizer: of the backbone.
        world: the processes.
        metric: compares the answers with the examples.
        batch_size: examples of a process per pass.
    """
    was_training = model.training
    model.eval()
    examples, config = split.examples, model.prompt.config
    facts = examples if answers else [example._replace(target="") for example in examples]
    tally = SelectionTally(facts, config.prompt_length, config.quantizer.codes if config.quantizes else 0, world.device)
    answering: Answering = Writing(model, split, tokenizer, world)
    if answers:
        answering = Choosing(model, split, answers, tokenizer, world)
    nll_N = torch.zeros(len(split), dtype=torch.float64, device=world.device)
    batches = split.source_length_N.argsort(descending=True, stable=True).split(batch_size)
    # Where the backbone is sharded a forward is a collective, so each process makes as many as the others. One that has no
    # batch left reads the last again and does not count it.
    for first in range(world.rank, world.rank + len(batches), world.size):
        row_B = batches[min(first, len(batches) - 1)]
        batch = split.batch(row_B.tolist()).to(world.device)
        prompted = model.put_prompt(batch.input_ids, batch.attention_mask)
        row_B = row_B[: len(row_B) if first < len(batches) else 0].to(world.device)
        nll_N[row_B] = answering.answer(prompted, batch, row_B).double()
        if len(row_B):
            tally.add(prompted.weight_BPK, row_B)
    model.train(was_training)
    nll = float(world.sum_(nll_N).mean())
    return Evaluation(metric(answering.texts(), examples), nll, tally.result(world))


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
