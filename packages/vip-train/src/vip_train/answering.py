"""How a model answers the examples of a split: it chooses among fixed answers, or writes. Several processes answer together.

B batch, N examples of the split, A answers, T target tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from vip_core import Prompted

from vip_train.data import Batch, encode_answers
from vip_train.model import VIPModel
from vip_train.sharding import is_sharded
from vip_train.tokenised import TokenisedSplit
from vip_train.world import World


class Answered(NamedTuple):
    """How likely answers to a batch are."""

    nll_B: Tensor
    """Negative log-likelihood of the right answers, in nats."""
    nll_BA: Tensor
    """That of each of `Answering.choices`; A = 0 where answers are written."""


class Answering(Protocol):
    """Collects the answers of a split."""

    @property
    def choices(self) -> Sequence[str]:
        """All answers that are scored, those of every task of a mixture; none where answers are written."""

    def answer(self, prompted: Prompted, batch: Batch, row_B: Tensor) -> Answered:
        """Answers a batch and keeps that.

        Args:
            prompted: from `VIPModel.put_prompt`.
            batch: the same examples.
            row_B: where they stand in the split; a process that answers rows of another one gives none, [0], and gets
                none.
        """

    def texts(self) -> list[str]:
        """The answers of all processes in the order of the split, the same in each; every process has to ask."""


class Choosing:
    """The likeliest of the answers an example may get, from one pass through the encoder.

    Args:
        model: in evaluation.
        split: what is answered.
        choices: of each example; an example without any is not asked.
        tokenizer: of the backbone.
        world: the processes.
    """

    def __init__(
        self,
        model: VIPModel,
        split: TokenisedSplit,
        choices: Sequence[tuple[str, ...]],
        tokenizer: PreTrainedTokenizerBase,
        world: World,
    ) -> None:
        # In a mixture rows have different choices: all are scored, those of other tasks left out.
        kinds = {own: number for number, own in enumerate(dict.fromkeys(choices))}
        answers = list(dict.fromkeys(answer for own in kinds for answer in own))
        self._model, self._world, self.choices = model, world, answers
        self._answers_AT = encode_answers(answers, tokenizer).to(world.device)
        self._kind_N = torch.tensor([kinds[own] for own in choices], device=world.device)
        self._barred_KA = torch.tensor([[answer not in own for answer in answers] for own in kinds], device=world.device)
        place = {answer: number for number, answer in enumerate(answers)}
        right = [place.get(example.target, -1) for example in split.examples]
        self._right_N = torch.tensor(right, device=world.device)
        self._chosen_N = torch.zeros_like(self._right_N)

    def answer(self, prompted: Prompted, batch: Batch, row_B: Tensor) -> Answered:
        """See `Answering`."""
        nll_BA = self._model.score_answers(prompted, self._answers_AT)
        if not len(row_B):
            return Answered(nll_BA.new_zeros(0), nll_BA[:0])
        self._chosen_N[row_B] = nll_BA.masked_fill(self._barred_KA[self._kind_N[row_B]], float("inf")).argmin(1)
        return Answered(nll_BA.gather(1, self._right_N[row_B, None])[:, 0], nll_BA)

    def texts(self) -> list[str]:
        """See `Answering`."""
        return [self.choices[number] for number in self._world.sum_(self._chosen_N).tolist()]


class Writing:
    """Free text, written greedily, as many tokens as the longest target has.

    Args:
        model: in evaluation.
        split: what is answered.
        row_N: which of its examples.
        tokenizer: of the backbone.
        world: the processes.
    """

    def __init__(
        self, model: VIPModel, split: TokenisedSplit, row_N: Tensor, tokenizer: PreTrainedTokenizerBase, world: World
    ) -> None:
        self._model, self._world, self._tokenizer = model, world, tokenizer
        self.choices: Sequence[str] = ()
        self._limit = int(split.target_length_N[row_N].max())
        # Where the backbone is sharded every token is a collective: who has written all goes along until all have.
        sharded = any(is_sharded(parameter) for parameter in model.backbone.parameters())
        self._synced = sharded and world.size > 1
        # Generation puts a start token before what it writes. Sums over processes are exact: one writes a row, others add 0.
        self._written_NT = torch.zeros(len(split), self._limit + 1, dtype=torch.int64, device=world.device)

    def answer(self, prompted: Prompted, batch: Batch, row_B: Tensor) -> Answered:
        """See `Answering`."""
        every_B = torch.arange(len(batch.labels), device=batch.labels.device)
        nll_B = self._model.score_targets(prompted, every_B, batch.labels)
        id_BT = self._model.write(prompted, max_new_tokens=self._limit, do_sample=False, num_beams=1, synced_gpus=self._synced)
        if not len(row_B):
            return Answered(nll_B.new_zeros(0), nll_B.new_zeros(0, 0))
        self._written_NT[row_B] = self._tokenizer.pad_token_id
        self._written_NT[row_B, : id_BT.shape[1]] = id_BT
        return Answered(nll_B, nll_B.new_zeros(len(nll_B), 0))

    def texts(self) -> list[str]:
        """See `Answering`."""
        written: list[str] = self._tokenizer.batch_decode(self._world.sum_(self._written_NT), skip_special_tokens=True)
        return written
