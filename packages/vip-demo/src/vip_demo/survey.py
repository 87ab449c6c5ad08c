"""What an adapter selects over a data set: use of each code, what codes tell, and which inputs take a code most.

N texts, P prompt tokens, K codes, G labels or domains.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

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
_AT_ONCE = 32
_MOST_FACTS = 12
"""Labels or domains that are shown; of free text there are as many as texts."""
_OTHERS = "others"


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
    """Perplexity, and what codes tell of input, label and domain."""
    skipped: tuple[str, ...]
    """Why texts were passed over, one sentence each."""

    @property
    def accuracy(self) -> float | None:
        """Share of right answers among the texts that came with one; None where none did."""
        pairs = zip(self.examples, self.answers, strict=True)
        right = [example.target == answer for example, answer in pairs if example.target]
        return sum(right) / len(right) if right else None

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
    for number, example in enumerate(examples, start=1):
        try:
            check(adapter, example.source)
            fine.append(example)
        except UserError as error:
            skipped.append(f"Text {number}: {error}")
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
    by_label, by_group = (_joint(found, fact) for fact in ("target", "group"))
    order = found.share_K.argsort(descending=True, stable=True).tolist()
    return [Use(code, float(found.share_K[code]), _part(by_label, found, code), _part(by_group, found, code)) for code in order]


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
    """The texts that take most of a code, the first one first."""
    share_N = found.share_NK[:, code]
    rows = share_N.argsort(descending=True, stable=True)[:most].tolist()
    return [Taker(float(share_N[row]), found.examples[row], found.answers[row]) for row in rows]


def table(found: Survey) -> tuple[list[str], list[list[str | float]]]:
    """Names of columns, and a row for each code by falling share."""
    labels, groups = (sorted(_joint(found, fact)) for fact in ("target", "group"))
    header = ["code", "share", *[f"label: {name}" for name in labels], *[f"domain: {name}" for name in groups]]
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
    """The table of use as CSV. Text that a spreadsheet would take for a formula is put behind an apostrophe."""
    header, rows = table(found)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([f"'{name}" if name[:1] in "=+-@\t\r" else name for name in header])
    writer.writerows(rows)
    return stream.getvalue()


def _joint(found: Survey, fact: str) -> dict[str, Tensor]:
    """Weight each code took from texts of each label or domain, [K] each; the rarer ones together where there are many."""
    facts = [getattr(example, fact) for example in found.examples]
    names = [name for name, _ in Counter(filter(None, facts)).most_common()]
    if len(names) > _MOST_FACTS:
        kept = set(names[: _MOST_FACTS - 1])
        facts = [each if each in kept or not each else _OTHERS for each in facts]
        names = [*names[: _MOST_FACTS - 1], _OTHERS]
    place = {name: number for number, name in enumerate(names)}
    place_N = torch.tensor([place.get(each, -1) for each in facts])
    return {name: found.share_NK[place_N == number].sum(0) for name, number in place.items()}


def _told_apart(examples: Sequence[Example]) -> list[Example]:
    """The examples with neither label nor domain where there are too many of them to be told apart, as of free text."""
    few = {fact: len({getattr(example, fact) for example in examples}) <= 4 * _MOST_FACTS for fact in ("target", "group")}
    return [
        example._replace(target=example.target if few["target"] else "", group=example.group if few["group"] else "")
        for example in examples
    ]


def _part(joint: dict[str, Tensor], found: Survey, code: int) -> dict[str, float]:
    if float(found.share_K[code]) < LEAST_SHARE:
        return {}
    total = sum(float(weight_K[code]) for weight_K in joint.values())
    return {name: float(weight_K[code]) / total for name, weight_K in joint.items()} if total else {}
