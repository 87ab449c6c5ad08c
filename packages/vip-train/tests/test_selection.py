"""Statistics of selected codes against counting by hand, and on selections whose information is known."""

import math
from collections import Counter

import pytest
import torch
from torch import Tensor
from vip_train.selection import Selection, SelectionTally
from vip_train.tasks import Example
from vip_train.world import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


def tally(examples: list[Example], weight_NPK: Tensor, *, batch_size: int = 5) -> Selection:
    found = SelectionTally(examples, weight_NPK.shape[1], weight_NPK.shape[2], ALONE.device)
    for at in range(0, len(examples), batch_size):
        found.add(weight_NPK[at : at + batch_size], torch.arange(len(examples))[at : at + batch_size])
    return found.result(ALONE)


def examples_of(labels: str, groups: str) -> list[Example]:
    return [Example("text", label, group) for label, group in zip(labels, groups, strict=True)]


def counted_bits(pairs: list[tuple[object, object]]) -> float:
    """I(X; Y) of pairs, from the definition."""
    both, left, right = Counter(pairs), Counter(x for x, _ in pairs), Counter(y for _, y in pairs)
    total = len(pairs)
    return sum(n / total * math.log2(n * total / (left[x] * right[y])) for (x, y), n in both.items())


def test_hard_selections_are_counted() -> None:
    generator = torch.Generator().manual_seed(0)
    code_NP = torch.randint(4, (40, 3), generator=generator)
    labels = "".join("ab"[int(code) % 2] if code < 3 else "c" for code in code_NP[:, 0])
    groups = "".join("xy"[number % 2] for number in range(40))
    found = tally(examples_of(labels, groups), torch.nn.functional.one_hot(code_NP, 4).float())
    for token in range(3):
        codes = code_NP[:, token].tolist()
        assert found.label_bits_P[token] == pytest.approx(counted_bits(list(zip(codes, labels, strict=True))), abs=1e-9)
        assert found.group_bits_P[token] == pytest.approx(counted_bits(list(zip(codes, groups, strict=True))), abs=1e-9)
        assert found.input_bits_P[token] == pytest.approx(counted_bits(list(zip(codes, range(40), strict=True))), abs=1e-9)
    assert found.label_bits == pytest.approx(sum(found.label_bits_P) / 3)
    assert found.token_perplexity == pytest.approx(1.0)
    share = Counter(code_NP.flatten().tolist())
    assert found.code_share_K == pytest.approx([share[code] / 120 for code in range(4)], abs=1e-6)
    assert found.code_perplexity == pytest.approx(math.exp(-sum(n / 120 * math.log(n / 120) for n in share.values())), rel=1e-5)


def test_codes_that_name_the_label_hold_its_entropy_and_shuffled_ones_little() -> None:
    labels = "ab" * 200
    weight_NPK = torch.eye(2)[[0, 1] * 200][:, None]
    found = tally(examples_of(labels, "x" * 400), weight_NPK, batch_size=64)
    assert found.label_bits == pytest.approx(1.0)
    assert found.input_bits == pytest.approx(1.0)
    # Chance gives about (|codes| - 1)(|labels| - 1) / (2 N ln 2) bits.
    assert 0 < found.label_bits_shuffled < 10 / (2 * 400 * math.log(2))
    assert (found.group_bits, found.group_bits_shuffled) == (0.0, 0.0)


def test_the_same_selection_for_every_input_tells_nothing() -> None:
    weight_NPK = torch.rand(1, 3, 6).softmax(2).expand(30, 3, 6)
    found = tally(examples_of("abc" * 10, "xy" * 15), weight_NPK)
    bits = (found.input_bits, found.label_bits, found.group_bits, found.label_bits_shuffled)
    assert bits == pytest.approx((0.0, 0.0, 0.0, 0.0), abs=1e-6)


def test_merged_codes_show_in_the_perplexity_of_a_token() -> None:
    found = tally(examples_of("ab" * 4, "xy" * 4), torch.full((8, 2, 50), 1 / 50))
    assert found.code_perplexity == pytest.approx(50, rel=1e-5)
    assert found.token_perplexity == pytest.approx(50, rel=1e-5)
    assert found.input_bits == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("codes", [0, 5])
def test_without_codes_all_is_zero(codes: int) -> None:
    assert set(tally(examples_of("ab", "xy"), torch.zeros(2, 3, codes))) == {0.0, ()}


@pytest.mark.parametrize("size", [2, 3, 7])
def test_processes_add_up_to_one(size: int) -> None:
    generator = torch.Generator().manual_seed(1)
    weight_NPK = torch.rand(11, 2, 4, generator=generator).softmax(2)
    examples = examples_of("abcabcabcab", "xxyyxxyyxxy")
    expected = tally(examples, weight_NPK)
    parts: list[list[Tensor]] = []

    class Part(World):
        def sum_(self, tensor: Tensor) -> Tensor:
            mine.append(tensor.clone())
            if len(parts) == size - 1:  # the last one gets what all have sent
                tensor += sum(part[len(mine) - 1] for part in parts)
            return tensor

    for rank in range(size):
        mine: list[Tensor] = []
        part = SelectionTally(examples, 2, 4, ALONE.device)
        for at in range(rank, 11, 3 * size):
            rows = torch.arange(11)[at : at + 3 * size : size]
            part.add(weight_NPK[rows], rows)
        found = part.result(Part(rank, size, ALONE.device))
        parts.append(mine)
    for name, value in expected._asdict().items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-5), name
