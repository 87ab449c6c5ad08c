"""Truncation, masks and padded answers."""

import pytest
import torch
from vip_train.backbones import Backbone
from vip_train.data import digest, encode_answers, encode_sources
from vip_train.tasks import Example
from vip_train.tokenised import TokenisedSplit


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


def test_the_digest_is_of_every_text_and_its_split() -> None:
    one, other = Example("a", "b", "c"), Example("a", "b", "d")
    assert digest([one], [other]) == digest([one], [other])
    assert len({digest([one], [other]), digest([other], [one]), digest([one, other], []), digest([one, other])}) == 4


@pytest.mark.parametrize(("size", "expected"), [(1, [1, 1, 1, 1]), (2, [2, 2]), (3, [3, 1]), (4, [4]), (9, [4])])
def test_parts_have_all_rows_in_order_and_only_their_own_padding(
    size: int, expected: list[int], backbone: Backbone, texts: list[str]
) -> None:
    examples = [Example(text, word, "") for text, word in zip(texts, ["ba", "milotura", "ke", "lo"], strict=True)]
    split = TokenisedSplit(examples, backbone.tokenizer, 480)
    parts = split.batch(range(4)).parts(size)
    assert [len(part.input_ids) for part in parts] == expected
    for number, part in enumerate(parts):
        alone = split.batch(range(number * size, number * size + expected[number]))
        assert all(torch.equal(one, other) for one, other in zip(part, alone, strict=True))
