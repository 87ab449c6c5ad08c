"""Draws the batches of a pretraining run: of any objective, and of instructions in words."""

import random
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from vip_train.pretrain.corpus import draw_windows
from vip_train.pretrain.instructions import instruct
from vip_train.pretrain.objectives import Pair, Question, cloze, echo, judge, lookup, padded, prefix_lm, span_corruption
from vip_train.pretrain.vocabulary import EOS

Stage = Literal["span", "prefix", "answer"]

_ANSWER_OBJECTIVES = ("prefix", "cloze", "lookup", "echo", "judge", "judge", "judge", "judge")
_QUESTIONS = (
    ("true or false?", ("true", "false")),
    ("true, false or neither?", ("true", "false", "neither")),
    ("yes or no?", ("yes", "no")),
)


class Batches:
    """Draws batches of any objective; knows the vocabulary's special ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, batch_size: int, window: int, instruction_share: float) -> None:
        self._batch_size, self._window, self._instruction_share = batch_size, window, instruction_share
        self._tokenizer = tokenizer
        names = [name for name in tokenizer.get_added_vocab() if name.startswith("<extra_id_")]
        self._eos: Any = tokenizer.convert_tokens_to_ids(EOS)

        def ids(text: str) -> list[int]:
            return list(tokenizer(text, add_special_tokens=False)["input_ids"])

        self._questions = [Question(ids(text), tuple(map(ids, answers))) for text, answers in _QUESTIONS]
        self._sentinels = np.sort(np.asarray(tokenizer.convert_tokens_to_ids(names), np.int64))

    def draw(self, stage: Stage, tokens: npt.NDArray[np.uint16], rng: np.random.Generator) -> Pair:
        """One batch for a stage."""
        if stage == "answer" and rng.random() < self._instruction_share:
            return self.instructions(rng)
        window_BL = draw_windows(tokens, batch=self._batch_size, length=self._window, rng=rng)
        if stage == "span":
            return span_corruption(window_BL, sentinels=self._sentinels, eos=self._eos, rng=rng)
        objective = rng.choice(_ANSWER_OBJECTIVES) if stage == "answer" else "prefix"
        if objective == "prefix":
            return prefix_lm(window_BL, eos=self._eos, rng=rng)
        if objective == "judge":
            question = self._questions[rng.integers(len(self._questions))]
            return judge(window_BL, sentinel=int(self._sentinels[3]), eos=self._eos, rng=rng, question=question)
        place = ["cloze", "lookup", "echo"].index(objective)
        return (cloze, lookup, echo)[place](window_BL, sentinel=int(self._sentinels[place]), eos=self._eos, rng=rng)

    def instructions(self, rng: np.random.Generator) -> Pair:
        """One batch of instructions in words. They are far shorter than a window, so there are twice as many."""
        source = random.Random(int(rng.integers(2**63)))
        drawn = [instruct(source) for _ in range(2 * self._batch_size)]
        texts, answers = self._tokenizer([one.source for one in drawn]), self._tokenizer([one.target for one in drawn])
        return padded(texts["input_ids"], answers["input_ids"])
