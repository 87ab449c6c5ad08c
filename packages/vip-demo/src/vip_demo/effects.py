"""What codes do: the answer when an input may not select some of them, or may select one alone. K codes, U codes in use.

A code that is off is not set to zero: the input selects as if the codebook did not have it, as it would had that code died.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from vip_train import Adapter, UserError

from vip_demo.inspection import Inspection, inspect

MOST_EFFECTS = 40
"""Codes whose effect is computed one by one, the most used first."""


class Effect(NamedTuple):
    """What changes when codes are taken away."""

    codes: tuple[int, ...]
    """Those that were taken away."""
    found: Inspection
    """The text without them."""
    change: dict[str, float]
    """Of each fixed answer's probability, with its sign; empty where the answer is free text."""
    distance: float
    """Half the sum of the changes' sizes, 0 to 1: how much probability went elsewhere. Of free text 1 if the answer changed."""


def without(adapter: Adapter, before: Inspection, codes: Iterable[int], *, seed: int = 0) -> Effect:
    """The text again, with codes switched off.

    Args:
        adapter: that `before` is of.
        before: the text with all codes.
        codes: indices of those to switch off.
        seed: of the draws, for `before.how == "sample"`.

    Raises:
        UserError: there is no such code, none would be left, or no codes are in use.
    """
    off = tuple(sorted(set(codes)))
    _check(before, off)
    if len(off) == before.codes:
        raise UserError("At least one code must stay on.")
    allowed_1K = torch.ones(1, before.codes, dtype=torch.bool)
    allowed_1K[0, list(off)] = False
    return _effect(before, off, inspect(adapter, [before.text], before.how, seed=seed, allowed_NK=allowed_1K)[0])


def only(adapter: Adapter, before: Inspection, code: int, *, seed: int = 0) -> Effect:
    """The text again, with every prompt token forced to one code. Arguments and errors are those of `without`."""
    _check(before, (code,))
    return without(adapter, before, set(range(before.codes)) - {code}, seed=seed)


def effects(adapter: Adapter, before: Inspection, *, seed: int = 0) -> list[Effect]:
    """Each of the codes in use switched off alone, the most used first; see `MOST_EFFECTS`.

    Args:
        adapter: that `before` is of.
        before: the text with all codes.
        seed: of its draws, if it has any: with others the bars would show another draw and not the code.

    Raises:
        UserError: no codes are in use, or there is no other one.
    """
    _check(before, ())
    codes = before.code_U[:MOST_EFFECTS]
    if before.codes < 2:
        raise UserError("This codebook has one code, which cannot be switched off.")
    allowed_UK = torch.ones(len(codes), before.codes, dtype=torch.bool)
    allowed_UK[torch.arange(len(codes)), list(codes)] = False
    found = inspect(adapter, [before.text] * len(codes), before.how, seed=seed, allowed_NK=allowed_UK)
    return [_effect(before, (code,), each) for code, each in zip(codes, found, strict=True)]


def _check(before: Inspection, codes: Sequence[int]) -> None:
    if not before.code_U:
        raise UserError("There are no codes to switch: this adapter has no codebook, or it was not in use yet.")
    if wrong := [code for code in codes if not 0 <= code < before.codes]:
        raise UserError(f"There is no code {wrong[0]}: this codebook has 0 to {before.codes - 1}.")


def _effect(before: Inspection, codes: tuple[int, ...], found: Inspection) -> Effect:
    change = {answer: found.probability[answer] - value for answer, value in before.probability.items()}
    distance = sum(map(abs, change.values())) / 2 if change else float(found.answer != before.answer)
    return Effect(codes, found, change, distance)


def most_effect(found: Sequence[Effect]) -> Effect:
    """The one that moves most probability; the more used one of equals."""
    return max(found, key=lambda effect: effect.distance)
