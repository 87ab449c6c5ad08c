"""Scores and code use of a prompt on a split. B batch, N examples, A answers, P prompt tokens, K codes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from vip_train.answering import Answering, Choosing, Writing
from vip_train.model import VIPModel
from vip_train.scoring import Scores, Scoring
from vip_train.selection import Selection, SelectionTally
from vip_train.tokenised import TokenisedSplit
from vip_train.world import World


class Evaluation(NamedTuple):
    """What an evaluation found."""

    scores: Scores
    """By the task's metrics."""
    nll: float
    """Mean negative log-likelihood of the right answer among all texts, in nats."""
    selection: Selection
    """Which codes were selected, and what they tell."""
    answers: list[str]
    """To each example, in the order of the split."""

    def record(self) -> dict[str, float | tuple[float, ...]]:
        """All figures by name, without nesting."""
        scores = {**self.scores.values, **self.scores.groups, "unparsed": self.scores.unparsed}
        return {**scores, "nll": self.nll, **self.selection._asdict()}


class Seen(NamedTuple):
    """One batch of an evaluation, for who wants more than its figures."""

    row_B: Tensor
    """Where its examples stand in the split."""
    nll_B: Tensor
    """Negative log-likelihood of the right answers, in nats."""
    choices: Sequence[str]
    """A texts that were scored; in a mixture also those of other tasks. None where answers are written."""
    nll_BA: Tensor
    """Of each of them."""
    weight_BPK: Tensor
    """What the prompt tokens selected; K = 0 without a codebook."""


@torch.no_grad()
def evaluate(
    model: VIPModel,
    split: TokenisedSplit,
    scoring: Scoring,
    tokenizer: PreTrainedTokenizerBase,
    world: World,
    *,
    batch_size: int = 64,
    observe: Callable[[Seen], None] | None = None,
) -> Evaluation:
    """Answers every example once, over all processes together.

    The batches, of neighbours in length, are the same on any number of processes, so answers and likelihoods are too.

    Args:
        model: any mode; it is restored.
        split: what is answered.
        scoring: the metrics, and the fixed answers of which the likeliest is taken. Where there are none the answer is
            written, and bits on labels are 0.
        tokenizer: of the backbone.
        world: the processes.
        batch_size: examples of a process per pass.
        observe: is given each batch of this process. Batches come sorted by length.
    """
    was_training = model.training
    model.eval()
    examples, config = split.examples, model.prompt.config
    choices = [scoring.choices(example) for example in examples]
    chosen_N = torch.tensor([bool(own) for own in choices])
    # Without sources, which may be more than memory holds.
    facts = [
        example._replace(source="", target=example.target if own else "")
        for example, own in zip(examples, choices, strict=True)
    ]
    tally = SelectionTally(facts, config.prompt_length, config.quantizer.codes if config.quantizes else 0, world.device)
    nll_N = torch.zeros(len(split), dtype=torch.float64, device=world.device)
    answers = [""] * len(split)
    order_N = split.source_length_N.argsort(descending=True, stable=True)
    for chooses in (True, False):
        row_N = order_N[chosen_N[order_N] == chooses]
        if not len(row_N):
            continue
        answering: Answering
        if chooses:
            answering = Choosing(model, split, choices, tokenizer, world)
        else:
            answering = Writing(model, split, row_N, tokenizer, world)
        _answer(model, split, row_N.split(batch_size), answering, tally, nll_N, world, observe)
        texts = answering.texts()
        for row in row_N.tolist():
            answers[row] = texts[row]
    model.train(was_training)
    nll = float(world.sum_(nll_N).mean())
    return Evaluation(scoring.score(answers, examples), nll, tally.result(world), answers)


def _answer(
    model: VIPModel,
    split: TokenisedSplit,
    batches: Sequence[Tensor],
    answering: Answering,
    tally: SelectionTally,
    nll_N: Tensor,
    world: World,
    observe: Callable[[Seen], None] | None,
) -> None:
    """Answers batches of rows in one way, this process's share of them."""
    # Where the backbone is sharded a forward is a collective, so each process makes as many as the others. One that has no
    # batch left reads the last again and does not count it.
    for first in range(world.rank, world.rank + len(batches), world.size):
        row_B = batches[min(first, len(batches) - 1)]
        batch = split.batch(row_B.tolist()).to(world.device)
        prompted = model.put_prompt(batch.input_ids, batch.attention_mask)
        row_B = row_B[: len(row_B) if first < len(batches) else 0].to(world.device)
        nll_B, nll_BA = answering.answer(prompted, batch, row_B)
        nll_N[row_B] = nll_B.double()
        if len(row_B):
            tally.add(prompted.weight_BPK, row_B)
            if observe is not None:
                observe(Seen(row_B, nll_B, answering.choices, nll_BA, prompted.weight_BPK))
