"""Reading plain, .gz and .xz text, what is said of files that cannot be read, and windows."""

import gzip
import lzma
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vip_train.backbones import Backbone
from vip_train.errors import UserError
from vip_train.pretrain.corpus import draw_windows, encode_corpus, read_paragraphs

LINES = "First paragraph.\n\n   \n  Zweiter Absatz: ä.  \r\nlast, without a line end"
PARAGRAPHS = ["First paragraph.", "Zweiter Absatz: ä.", "last, without a line end"]
LONG = "".join(f"paragraph number {number * number}\n" for number in range(20_000)).encode()
COMPRESS = {"xz": lzma.compress, "gz": gzip.compress, "txt": bytes}


@pytest.mark.parametrize("ending", COMPRESS)
def test_paragraphs_are_the_lines_that_are_not_blank(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"text.{ending}"
    path.write_bytes(COMPRESS[ending](LINES.encode()))
    assert list(read_paragraphs(path)) == PARAGRAPHS


def refusal(path: Path) -> str:
    """The one line that says why a corpus cannot be read."""
    with pytest.raises(UserError) as caught:
        list(read_paragraphs(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    return message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nothing.txt")


def test_a_folder_is_named(tmp_path: Path) -> None:
    refusal(tmp_path)


@pytest.mark.parametrize("ending", ["xz", "gz"])
def test_a_truncated_file_is_named_with_the_line_reached(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"text.{ending}"
    whole = COMPRESS[ending](LONG)
    path.write_bytes(whole[: len(whole) // 2])
    message = refusal(path)
    reached = int(message.split("after line ")[1].split(":")[0])
    assert 0 < reached < 20_000


@pytest.mark.parametrize("ending", ["xz", "gz"])
def test_plain_text_under_the_name_of_an_archive_is_named(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"text.{ending}"
    path.write_bytes(LONG)
    refusal(path)


@pytest.mark.parametrize("ending", ["xz", "gz"])
def test_a_damaged_archive_is_named(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"text.{ending}"
    damaged = bytearray(COMPRESS[ending](LONG))
    middle = len(damaged) // 2
    damaged[middle : middle + 64] = b"\xff" * 64
    path.write_bytes(damaged)
    refusal(path)


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("fine\nfa\u00e7ade\n".encode("latin-1"))
    assert "utf-8" in refusal(path)


def test_encoding_closes_paragraphs_and_holds_out_the_last(backbone: Backbone) -> None:
    paragraphs = [f"bake milo {number}" for number in range(10)]
    found = encode_corpus(paragraphs, backbone.tokenizer, held_out=0.2)
    rows = backbone.tokenizer(paragraphs)["input_ids"]
    assert found.training.tolist() == list(chain(*rows[:8]))
    assert found.held_out.tolist() == list(chain(*rows[8:]))
    assert found.training.dtype == found.held_out.dtype == np.uint16


def test_at_least_one_paragraph_is_held_out(backbone: Backbone) -> None:
    assert len(encode_corpus(["bake milo", "ture"], backbone.tokenizer).held_out) == len(
        backbone.tokenizer("ture")["input_ids"]
    )


@given(length=st.integers(1, 30), extra=st.integers(0, 30), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_windows_are_runs_of_the_corpus(length: int, extra: int, seed: int) -> None:
    tokens = np.arange(length + extra).astype(np.uint16)
    window_BL = draw_windows(tokens, batch=5, length=length, rng=np.random.default_rng(seed))
    assert window_BL.shape == (5, length)
    assert window_BL.dtype == np.int64
    assert (window_BL == window_BL[:, :1] + np.arange(length)).all()
    assert 0 <= window_BL.min() <= window_BL.max() < len(tokens)


def test_windows_reach_both_ends() -> None:
    starts = draw_windows(np.arange(12).astype(np.uint16), batch=400, length=10, rng=np.random.default_rng(0))[:, 0]
    assert set(starts.tolist()) == {0, 1, 2}


def test_a_corpus_shorter_than_a_window_is_an_error() -> None:
    with pytest.raises(ValueError, match="9 tokens, fewer than one window of 10"):
        draw_windows(np.arange(9).astype(np.uint16), batch=1, length=10, rng=np.random.default_rng(0))
