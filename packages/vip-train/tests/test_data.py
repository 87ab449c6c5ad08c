"""Truncation, masks, padded answers and the order of shuffled batches."""

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vip_train.backbones import Backbone
from vip_train.data import Batch, Shuffled, collator, encode_answers, encode_sources
from vip_train.tasks import Example


def test_sources_are_closed_and_padded_on_the_right(backbone: Backbone, texts: list[str]) -> None:
    found = encode_sources(texts, backbone.tokenizer, 480)
    rows = backbone.tokenizer(texts)["input_ids"]
    assert found.input_ids.shape == found.attention_mask.shape == (4, max(map(len, rows)))
    assert found.truncated == 0
    for row, ids_S, mask_S in zip(rows, found.input_ids, found.attention_mask, strict=True):
        assert row[-1] == backbone.tokenizer.eos_token_id
        assert ids_S.tolist() == row + [backbone.tokenizer.pad_token_id] * (len(ids_S) - len(row))
        assert mask_S.tolist() == [1] * len(row) + [0] * (len(ids_S) - len(row))
    assert len(set(found.attention_mask.sum(1).tolist())) > 1, "lengths differ, or this test shows nothing"


def test_a_long_text_loses_its_end_but_not_its_closing(backbone: Backbone, texts: list[str]) -> None:
    rows = backbone.tokenizer(texts)["input_ids"]
    limit = len(rows[1])
    found = encode_sources(texts, backbone.tokenizer, limit)
    assert found.input_ids.shape == (4, limit)
    assert found.truncated == sum(len(row) > limit for row in rows) > 0
    for row, ids_S in zip(rows, found.input_ids.tolist(), strict=True):
        if len(row) > limit:
            assert ids_S == [*row[: limit - 1], backbone.tokenizer.eos_token_id]
        else:
            assert ids_S[: len(row)] == row


def test_each_text_may_have_a_limit_of_its_own(backbone: Backbone, texts: list[str]) -> None:
    limits = [3, 480, 5, 480]
    found = encode_sources(texts, backbone.tokenizer, limits)
    assert found.truncated == 2
    for row, (text, limit) in enumerate(zip(texts, limits, strict=True)):
        (alone,) = encode_sources([text], backbone.tokenizer, limit).input_ids.tolist()
        assert found.input_ids[row, : int(found.attention_mask[row].sum())].tolist() == alone


def test_an_empty_text_is_its_closing(backbone: Backbone) -> None:
    found = encode_sources(["", "bake milo"], backbone.tokenizer, 480)
    assert found.input_ids[0, 0] == backbone.tokenizer.eos_token_id
    assert found.attention_mask.sum(1)[0] == 1


def test_answers_are_closed_and_padded_with_what_does_not_count(backbone: Backbone) -> None:
    words = ["ba", "milotura"]
    found = encode_answers(words, backbone.tokenizer)
    for word, label_T in zip(words, found.tolist(), strict=True):
        row = backbone.tokenizer(word)["input_ids"]
        assert label_T == row + [-100] * (len(label_T) - len(row))
    assert (found == -100).any(), "lengths differ, or this test shows nothing"


def test_a_batch_is_its_sources_and_targets(backbone: Backbone, texts: list[str]) -> None:
    examples = [Example(text, word, "") for text, word in zip(texts, ["ba", "milotura", "ke", "lo"], strict=True)]
    batch = collator(backbone.tokenizer, 10)(examples)
    assert isinstance(batch, Batch)
    sources = encode_sources(texts, backbone.tokenizer, 10)
    assert torch.equal(batch.input_ids, sources.input_ids)
    assert torch.equal(batch.attention_mask, sources.attention_mask)
    assert torch.equal(batch.labels, encode_answers(["ba", "milotura", "ke", "lo"], backbone.tokenizer))
    moved = batch.to(torch.device("meta"))
    assert {tensor.device.type for tensor in moved} == {"meta"}


def numbers(examples: Sequence[Example]) -> Batch:
    """Stands for a collator: the examples' numbers in place of tokens."""
    found = torch.tensor([[int(example.source)] for example in examples])
    return Batch(found, torch.ones_like(found), found)


def epochs(count: int, *, of: int, rank: int = 0, ranks: int = 1, batch: int = 3, seed: int = 0) -> list[list[int]]:
    """The example numbers that a rank sees, epoch by epoch."""
    examples = [Example(str(number), "", "") for number in range(of)]
    batches = Shuffled(examples, batch_size=batch, rank=rank, world_size=ranks, seed=seed, collate=numbers)
    share = -(-of // ranks)
    found = []
    for _ in range(count):
        seen: list[int] = []
        while len(seen) < share:
            seen += next(batches).input_ids.flatten().tolist()
        found.append(seen)
    return found


@given(size=st.integers(1, 40), batch=st.integers(1, 50), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_every_epoch_has_every_example_once(size: int, batch: int, seed: int) -> None:
    for seen in epochs(3, of=size, batch=batch, seed=seed):
        assert sorted(seen) == list(range(size))


@given(share=st.integers(1, 12), ranks=st.integers(2, 4), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_ranks_share_an_epoch_without_overlap(share: int, ranks: int, seed: int) -> None:
    parts = [epochs(2, of=share * ranks, rank=rank, ranks=ranks, seed=seed) for rank in range(ranks)]
    for epoch in range(2):
        assert sorted(number for part in parts for number in part[epoch]) == list(range(share * ranks))


@given(size=st.integers(1, 30), ranks=st.integers(2, 4))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_an_uneven_epoch_repeats_as_few_examples_as_it_can(size: int, ranks: int) -> None:
    """All ranks see equally many, or collectives of one would wait for another in vain."""
    parts = [epochs(1, of=size, rank=rank, ranks=ranks)[0] for rank in range(ranks)]
    assert {len(part) for part in parts} == {-(-size // ranks)}
    counts = Counter(number for part in parts for number in part)
    assert set(counts) == set(range(size))
    assert sum(counts.values()) - size == -size % ranks


def test_the_seed_decides_the_order() -> None:
    assert epochs(2, of=30, seed=7) == epochs(2, of=30, seed=7)
    assert epochs(2, of=30, seed=7) != epochs(2, of=30, seed=8)


def test_the_order_does_not_depend_on_torch_randomness() -> None:
    torch.manual_seed(1)
    first = epochs(2, of=30)
    torch.manual_seed(2)
    assert epochs(2, of=30) == first


def test_epochs_differ_in_order() -> None:
    first, second, third = epochs(3, of=30)
    assert first != second != third != first
    assert first != sorted(first)


@pytest.mark.parametrize("batch", [4, 30])
def test_batches_are_full_but_the_last(batch: int) -> None:
    examples = [Example(str(number), "", "") for number in range(30)]
    batches = Shuffled(examples, batch_size=batch, rank=0, world_size=1, seed=0, collate=numbers)
    sizes = [len(next(batches).input_ids) for _ in range(-(-30 // batch))]
    assert sizes == [batch] * (30 // batch) + ([30 % batch] if 30 % batch else [])
