"""How two inspected texts differ in what they selected. K codes, P prompt tokens, D width."""

from typing import NamedTuple

from vip_core import entropy

from vip_demo.inspection import Inspection

LEAST_HELD = 0.01
"""A text holds a code that took at least this share of its weight. Those below are too many and too small to compare."""


class Comparison(NamedTuple):
    """Two texts through one adapter."""

    shared: tuple[int, ...]
    """Codes that both hold, by falling share in both together."""
    only_first: tuple[int, ...]
    """Codes that the first alone holds, likewise."""
    only_second: tuple[int, ...]
    code_distance: float
    """Jensen-Shannon divergence of their code shares in bits: 0 the same, 1 nothing in common; 0 without codes."""
    prompt_distance: float
    """Root mean square of the prompt tokens' difference, over that of the first's prompt tokens; 0 for one fixed prompt."""
    changed_tokens: tuple[int, ...]
    """Prompt tokens whose likeliest code is another one."""


def compare(first: Inspection, second: Inspection) -> Comparison:
    """Compares two inspections of the same adapter and selection.

    Raises:
        ValueError: they are not.
    """
    if (first.method, first.how, first.codes, first.prompt_PD.shape) != (
        second.method,
        second.how,
        second.codes,
        second.prompt_PD.shape,
    ):
        raise ValueError("the two inspections are of different adapters or selections")
    both_K = first.share_K + second.share_K
    order = both_K.argsort(descending=True, stable=True).tolist()
    in_first, in_second = ({code for code in order if found.share_K[code] >= LEAST_HELD} for found in (first, second))
    divergence = entropy(both_K / 2) - (entropy(first.share_K) + entropy(second.share_K)) / 2
    moved_PD = first.prompt_PD - second.prompt_PD
    return Comparison(
        shared=tuple(code for code in order if code in in_first & in_second),
        only_first=tuple(code for code in order if code in in_first - in_second),
        only_second=tuple(code for code in order if code in in_second - in_first),
        code_distance=max(0.0, float(divergence)),
        prompt_distance=float(moved_PD.square().mean().sqrt() / first.prompt_PD.square().mean().sqrt()),
        changed_tokens=tuple(
            token
            for token, (mine, other) in enumerate(zip(_likeliest(first), _likeliest(second), strict=True))
            if mine != other
        ),
    )


def _likeliest(found: Inspection) -> list[int]:
    """Of each prompt token its code of most weight; none where no code is in use."""
    if not found.code_U:
        return []
    return [found.code_U[place] for place in found.weight_PU.argmax(1).tolist()]
