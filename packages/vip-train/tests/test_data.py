"""Truncation, masks, padded answers and the order of shuffled batches."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vip_train.backbones import Backbone
from vip_train.data import Batch, Shuffled, collator, digest, encode_answers, encode_sources
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


def steps(count: int, *, of: int, rank: int = 0, ranks: int = 1, batch: int = 3, seed: int = 0) -> list[list[int]]:
    """The example numbers that a rank reads, step by step."""
    examples = [Example(str(number), "", "") for number in range(of)]
    batches = Shuffled(examples, batch_size=batch, rank=rank, world_size=ranks, seed=seed, collate=numbers)
    return [batches.batch(step).input_ids.flatten().tolist() for step in range(1, count + 1)]


def epochs(count: int, *, of: int, seed: int = 0) -> list[list[int]]:
    """The example numbers of each epoch, in order."""
    return steps(count, of=of, batch=of, seed=seed)


@given(size=st.integers(1, 40), batch=st.integers(1, 50), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_batches_are_full_and_every_epoch_has_every_example_once(size: int, batch: int, seed: int) -> None:
    found = steps(-(-3 * size // batch), of=size, batch=batch, seed=seed)
    assert {len(seen) for seen in found} == {batch}
    stream = [number for seen in found for number in seen]
    for epoch in range(3):
        assert sorted(stream[epoch * size : (epoch + 1) * size]) == list(range(size))


@given(share=st.integers(1, 8), ranks=st.integers(2, 4), size=st.integers(1, 40), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_step_reads_the_same_examples_on_any_number_of_processes(share: int, ranks: int, size: int, seed: int) -> None:
    whole = steps(5, of=size, batch=share * ranks, seed=seed)
    parts = [steps(5, of=size, rank=rank, ranks=ranks, batch=share * ranks, seed=seed) for rank in range(ranks)]
    for step, batch in enumerate(whole):
        assert {len(part[step]) for part in parts} == {share}
        assert sorted(number for part in parts for number in part[step]) == sorted(batch)


def test_a_step_can_be_read_without_those_before_it() -> None:
    examples = [Example(str(number), "", "") for number in range(7)]
    batches = Shuffled(examples, batch_size=3, rank=0, world_size=1, seed=4, collate=numbers)
    forwards = [batches.rows(step) for step in range(1, 9)]
    assert [batches.rows(step) for step in range(8, 0, -1)] == forwards[::-1]


def test_processes_that_do_not_divide_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size=3 must be divisible by world_size=2"):
        steps(1, of=7, ranks=2)


def test_the_seed_decides_the_order() -> None:
    assert epochs(2, of=30, seed=7) == epochs(2, of=30, seed=7)
    assert epochs(2, of=30, seed=7) != epochs(2, of=30, seed=8)


def test_the_order_neither_follows_nor_moves_torchs_randomness() -> None:
    torch.manual_seed(1)
    first = epochs(2, of=30)
    after = torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(after, torch.get_rng_state())
    torch.manual_seed(2)
    assert epochs(2, of=30) == first


def test_epochs_differ_in_order() -> None:
    first, second, third = epochs(3, of=30)
    assert first != second != third != first
    assert first != sorted(first)


def test_the_digest_is_of_every_text_and_its_split() -> None:
    one, other = Example("a", "b", "c"), Example("a", "b", "d")
    assert digest([one], [other]) == digest([one], [other])
    assert len({digest([one], [other]), digest([other], [one]), digest([one, other], []), digest([one, other])}) == 4


@pytest.mark.parametrize(("size", "expected"), [(1, [1, 1, 1, 1]), (2, [2, 2]), (3, [3, 1]), (4, [4]), (9, [4])])
def test_parts_have_all_rows_in_order_and_only_their_own_padding(
    size: int, expected: list[int], backbone: Backbone, texts: list[str]
) -> None:
    examples = [Example(text, word, "") for text, word in zip(texts, ["ba", "milotura", "ke", "lo"], strict=True)]
    collate = collator(backbone.tokenizer, 480)
    parts = collate(examples).parts(size)
    assert [len(part.input_ids) for part in parts] == expected
    for number, part in enumerate(parts):
        alone = collate(examples[number * size :][: expected[number]])
        assert all(torch.equal(one, other) for one, other in zip(part, alone, strict=True))
