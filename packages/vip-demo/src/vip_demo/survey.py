"""What an adapter selects over a data set: use of each code, what codes tell, and which inputs take a code most.

N texts, P prompt tokens, K codes, G labels or domains.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from vip_core import usage
from vip_core.config import Evaluation
from vip_train import Adapter, UserError, predict
from vip_train.selection import Selection, SelectionTally
from vip_train.tasks import Example
from vip_train.world import World

from vip_demo.inspection import LEAST_SHARE, check

MOST_TEXTS = 2_000
MOST_TOKENS = 200_000
"""Of all texts together: about a minute on one core with the bundled backbone."""
_AT_ONCE = 32
_MOST_FACTS = 12
"""Labels or domains that are shown; of free text there are as many as texts."""
_OTHERS = "others"
_LONGEST_NAME = 60  # of a label or domain in a table


Fact = Literal["target", "group"]
"""The right answer, or the domain."""


class Survey(NamedTuple):
    """A data set, seen through one adapter."""

    examples: tuple[Example, ...]
    """Without those that were too long or empty; a target is empty where none was given."""
    answers: tuple[str, ...]
    """The adapter's, to each."""
    share_NK: Tensor
    """Of the weight of each text, what each code took, fp32."""
    share_K: Tensor
    """Of all weight."""
    selection: Selection
    """Perplexity, and what codes tell of input, label and domain; see `knows`."""
    skipped: tuple[str, ...]
    """Why texts were passed over, one sentence each."""

    @property
    def accuracy(self) -> float | None:
        """Share of right answers among the texts that came with one; None where none did."""
        pairs = zip(self.examples, self.answers, strict=True)
        right = [example.target == answer for example, answer in pairs if example.target]
        return sum(right) / len(right) if right else None

    def knows(self, fact: Fact) -> bool:
        """Whether every text has a label (`target`) or domain (`group`), few enough of them to ask what codes tell of it."""
        return _can_be_told(self.examples, fact)

    @property
    def dead(self) -> tuple[int, ...]:
        """Codes that took less than `LEAST_SHARE` of all weight."""
        return tuple((self.share_K < LEAST_SHARE).nonzero()[:, 0].tolist())


class Use(NamedTuple):
    """One code over a survey."""

    code: int
    share: float
    """Of all weight."""
    by_label: dict[str, float]
    """Of this code's weight, what came from texts with each right answer; sums to one, empty for a code not in use."""
    by_group: dict[str, float]
    """The same by domain."""


def survey(
    adapter: Adapter,
    examples: Sequence[Example],
    how: Evaluation = "expected",
    *,
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> Survey:
    """Answers all texts. Those the adapter cannot read whole are passed over and named.

    Args:
        adapter: from `vip_train.load_adapter`.
        examples: at most `MOST_TEXTS`.
        how: selection of codes.
        progress: is told how many texts of how many are done.

    Raises:
        UserError: there are too many texts, or none that can be read.
    """
    if len(examples) > MOST_TEXTS:
        raise UserError(f"The data set has {len(examples):,} texts, at most {MOST_TEXTS:,} are taken: shorten it.")
    fine: list[Example] = []
    skipped: list[str] = []
    tokens = 0
    for number, example in enumerate(examples, start=1):
        try:
            tokens += check(adapter, example.source)
            fine.append(example)
        except UserError as error:
            skipped.append(f"Text {number}: {error}")
    if tokens > MOST_TOKENS:
        raise UserError(f"The data set has {tokens:,} tokens, at most {MOST_TOKENS:,} are taken: shorten it.")
    if not fine:
        raise UserError(f"There is no text to look at. {skipped[0] if skipped else 'The data set is empty.'}")
    vip = adapter.config.vip
    codes = vip.quantizer.codes if vip.quantizes else 0
    tally = SelectionTally(_told_apart(fine), vip.prompt_length, codes, torch.device("cpu"))
    answers: list[str] = []
    shares: list[Tensor] = []
    for at in range(0, len(fine), _AT_ONCE):
        found = list(predict(adapter, [example.source for example in fine[at : at + _AT_ONCE]], how=how))
        weight_BPK = torch.stack([each.weight_PK for each in found]).float()
        tally.add(weight_BPK, torch.arange(at, at + len(found)))
        answers += [each.answer for each in found]
        shares.append(weight_BPK.mean(1))
        progress(len(answers), len(fine))
    share_NK = torch.cat(shares)
    return Survey(
        examples=tuple(fine),
        answers=tuple(answers),
        share_NK=share_NK,
        share_K=usage(share_NK[None]),
        selection=tally.result(World(0, 1, torch.device("cpu"))),
        skipped=tuple(skipped),
    )


def uses(found: Survey) -> list[Use]:
    """All codes by falling share, each with the labels and domains its weight came from."""
    by_label, by_group = _joint(found, "target"), _joint(found, "group")
    order = found.share_K.argsort(descending=True, stable=True).tolist()
    return [Use(code, float(found.share_K[code]), _part(by_label, found, code), _part(by_group, found, code)) for code in order]


def texts_by(found: Survey, fact: Fact) -> dict[str, float]:
    """Share of the texts with each label or domain, the rarer ones together as in `Use`."""
    counts = Counter(filter(None, _folded(found, fact)))
    return {name: count / counts.total() for name, count in counts.items()}


def main_of(share: dict[str, float]) -> str:
    """The label or domain that a code's weight came from most; empty if there is none."""
    return max(share, key=share.__getitem__) if share else ""


class Taker(NamedTuple):
    """A text that takes much of a code."""

    share: float
    """Of the text's weight."""
    example: Example
    answer: str


def takers(found: Survey, code: int, most: int = 8) -> list[Taker]:
    """The texts that take most of a code, the first one first; of equal texts one."""
    share_N = found.share_NK[:, code]
    rows: dict[str, int] = {}
    for row in share_N.argsort(descending=True, stable=True).tolist():
        rows.setdefault(found.examples[row].source, row)
        if len(rows) == most:
            break
    return [Taker(float(share_N[row]), found.examples[row], found.answers[row]) for row in rows.values()]


def table(found: Survey) -> tuple[list[str], list[list[str | float]]]:
    """Names of columns, and a row for each code by falling share."""
    labels, groups = sorted(texts_by(found, "target")), sorted(texts_by(found, "group"))
    header = ["code", "share", *[f"label: {_short(name)}" for name in labels], *[f"domain: {_short(name)}" for name in groups]]
    rows: list[list[str | float]] = [
        [
            use.code,
            round(use.share, 4),
            *[round(use.by_label.get(name, 0.0), 3) for name in labels],
            *[round(use.by_group.get(name, 0.0), 3) for name in groups],
        ]
        for use in uses(found)
    ]
    return header, rows


def as_csv(found: Survey) -> str:
    """The table of use as CSV."""
    header, rows = table(found)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _folded(found: Survey, fact: Fact) -> list[str]:
    """Label or domain of each text; the rarer ones are one where there are many."""
    facts = [getattr(example, fact) for example in found.examples]
    names = [name for name, _ in Counter(filter(None, facts)).most_common()]
    if len(names) <= _MOST_FACTS:
        return facts
    kept = {*names[: _MOST_FACTS - 1], ""}
    return [each if each in kept else _OTHERS for each in facts]


def _joint(found: Survey, fact: Fact) -> dict[str, Tensor]:
    """Weight each code took from texts of each label or domain, [K] each."""
    facts = _folded(found, fact)
    place = {name: number for number, name in enumerate(sorted({*facts} - {""}))}
    place_N = torch.tensor([place.get(each, -1) for each in facts])
    return {name: found.share_NK[place_N == number].sum(0) for name, number in place.items()}


def _can_be_told(examples: Sequence[Example], fact: Fact) -> bool:
    facts = {getattr(example, fact) for example in examples}
    return "" not in facts and len(facts) <= 4 * _MOST_FACTS


def _told_apart(examples: Sequence[Example]) -> list[Example]:
    """The examples without the labels or domains that nothing can be said of, such as free text."""
    target, group = _can_be_told(examples, "target"), _can_be_told(examples, "group")
    return [
        example._replace(target=example.target if target else "", group=example.group if group else "") for example in examples
    ]


def _part(joint: dict[str, Tensor], found: Survey, code: int) -> dict[str, float]:
    if float(found.share_K[code]) < LEAST_SHARE:
        return {}
    total = sum(float(weight_K[code]) for weight_K in joint.values())
    return {name: float(weight_K[code]) / total for name, weight_K in joint.items()} if total else {}
