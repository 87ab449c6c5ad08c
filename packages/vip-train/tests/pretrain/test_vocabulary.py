"""Ids of the special tokens, closing, round trip, and texts too small for the vocabulary asked for."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from vip_train.pretrain.vocabulary import sentinel, train_vocabulary

SIZE, SENTINELS = 300, 8


@pytest.fixture(scope="module")
def paragraphs(corpus: Path) -> list[str]:
    return corpus.read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def tokenizer(paragraphs: list[str]) -> PreTrainedTokenizerFast:
    return train_vocabulary(paragraphs, size=SIZE, sentinels=SENTINELS)


def test_special_tokens_have_the_ids_of_t5(tokenizer: PreTrainedTokenizerFast) -> None:
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer.convert_ids_to_tokens([0, 1, 2]) == ["<pad>", "</s>", "<unk>"]


def test_sentinels_are_the_last_ids_ascending(tokenizer: PreTrainedTokenizerFast) -> None:
    names = [sentinel(index) for index in range(SENTINELS)]
    assert names[:2] == ["<extra_id_0>", "<extra_id_1>"]
    assert tokenizer.convert_tokens_to_ids(names) == list(range(SIZE - SENTINELS, SIZE))
    assert len(tokenizer) == SIZE


def test_every_text_is_closed_once(tokenizer: PreTrainedTokenizerFast, paragraphs: list[str]) -> None:
    for ids in tokenizer([*paragraphs[:50], ""])["input_ids"]:
        assert ids.count(1) == 1
        assert ids[-1] == 1


def test_text_comes_back_with_its_spaces_put_right(tokenizer: PreTrainedTokenizerFast, paragraphs: list[str]) -> None:
    for text in paragraphs[:50]:
        spread = "  " + text.replace(" ", "\t  ") + "\n"
        assert tokenizer.decode(tokenizer(spread)["input_ids"], skip_special_tokens=True) == text


def test_a_sentinel_in_the_text_is_one_id(tokenizer: PreTrainedTokenizerFast) -> None:
    assert SIZE - SENTINELS + 3 in tokenizer("bake <extra_id_3> milo")["input_ids"]


def test_a_letter_never_seen_is_unknown(tokenizer: PreTrainedTokenizerFast) -> None:
    assert 2 in tokenizer("bake Ω")["input_ids"]


def test_it_reads_back_the_same(tokenizer: PreTrainedTokenizerFast, paragraphs: list[str], tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(paragraphs[:50])["input_ids"] == tokenizer(paragraphs[:50])["input_ids"]
    assert (again.pad_token_id, again.eos_token_id, again.unk_token_id, len(again)) == (0, 1, 2, SIZE)


def test_too_little_text_for_the_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="300 were asked for"):
        train_vocabulary(["a few words"], size=300, sentinels=8)


@pytest.mark.parametrize(("size", "sentinels"), [(20, 8), (8, 8), (20, 32)])
def test_a_size_without_room_for_the_letters_is_an_error(paragraphs: list[str], size: int, sentinels: int) -> None:
    with pytest.raises(ValueError, match=str(size)):
        train_vocabulary(paragraphs, size=size, sentinels=sentinels)
