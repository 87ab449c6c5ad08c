"""Both objectives only rearrange a window: what encoder and decoder see, put together again, is the window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vip_train.pretrain.objectives import by_length, padded, prefix_lm, span_corruption

EOS = 1
SENTINELS = np.arange(1000, 1040)


def windows(batch: int, length: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, 900, size=(batch, length))


def spans_of(target_T: np.ndarray) -> dict[int, list[int]]:
    """The tokens after each sentinel."""
    spans: dict[int, list[int]] = {}
    current: list[int] = []
    for token in target_T.tolist():
        if token >= SENTINELS[0]:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    return spans


sizes = st.tuples(st.integers(1, 3), st.integers(8, 200), st.integers(0, 2**32 - 1))


@given(size=sizes, density=st.floats(0.01, 0.5), mean_span=st.floats(1.0, 10.0))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_span_corruption_loses_nothing(size: tuple[int, int, int], density: float, mean_span: float) -> None:
    batch, length, seed = size
    window_BL = windows(batch, length, seed)
    sentinels = np.arange(1000, 1000 + length)
    pair = span_corruption(
        window_BL, sentinels=sentinels, eos=EOS, rng=np.random.default_rng(seed), density=density, mean_span=mean_span
    )
    assert (pair.source_BS[:, -1] == EOS).all()
    assert (pair.target_BT[:, -1] == EOS).all()
    for window_L, source_S, target_T in zip(window_BL, pair.source_BS, pair.target_BT, strict=True):
        spans = spans_of(target_T[:-1])
        assert list(spans) == sentinels[: len(spans)].tolist()
        assert [token for token in source_S if token >= 1000] == list(spans)
        assert all(spans.values()), "no span is empty"
        rebuilt: list[int] = []
        for token in source_S[:-1].tolist():
            rebuilt += spans[token] if token >= 1000 else [token]
        assert rebuilt == window_L.tolist()


@given(size=sizes)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_span_corruption_takes_the_share_it_says(size: tuple[int, int, int]) -> None:
    batch, length, seed = size
    pair = span_corruption(windows(batch, length, seed), sentinels=SENTINELS, eos=EOS, rng=np.random.default_rng(seed))
    noise = max(round(0.15 * length), 1)
    spans = max(round(noise / 3), 1)
    assert pair.source_BS.shape == (batch, length - noise + spans + 1)
    assert pair.target_BT.shape == (batch, noise + spans + 1)
    assert pair.source_BS.dtype == pair.target_BT.dtype == np.int64


def test_span_corruption_begins_with_text_and_differs_between_rows() -> None:
    pair = span_corruption(windows(64, 100, 0), sentinels=SENTINELS, eos=EOS, rng=np.random.default_rng(0))
    assert (pair.source_BS[:, 0] < 900).all(), "the first span is never at the very start"
    assert len({tuple(row >= 1000) for row in pair.source_BS}) > 60


def test_too_few_sentinels_are_an_error() -> None:
    with pytest.raises(ValueError, match="windows of 200 tokens need 10 sentinels, the vocabulary has 4"):
        span_corruption(windows(2, 200, 0), sentinels=SENTINELS[:4], eos=EOS, rng=np.random.default_rng(0))


@given(size=sizes)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_prefix_lm_loses_nothing(size: tuple[int, int, int]) -> None:
    batch, length, seed = size
    window_BL = windows(batch, length, seed)
    pair = prefix_lm(window_BL, eos=EOS, rng=np.random.default_rng(seed))
    assert (pair.source_BS[:, -1] == EOS).all()
    assert np.array_equal(np.concatenate([pair.source_BS[:, :-1], pair.target_BT], axis=1), window_BL)
    assert min(pair.source_BS.shape[1] - 1, pair.target_BT.shape[1]) >= length // 4
    assert not np.shares_memory(pair.target_BT, window_BL)


def test_prefix_lm_splits_at_every_place_of_the_middle_half() -> None:
    rng = np.random.default_rng(0)
    splits = {prefix_lm(windows(1, 16, 0), eos=EOS, rng=rng).target_BT.shape[1] for _ in range(300)}
    assert splits == set(range(4, 13))


@pytest.mark.parametrize("name", ["span", "prefix"])
def test_the_generator_decides(name: str) -> None:
    def draw(seed: int) -> list[list[int]]:
        rng = np.random.default_rng(seed)
        window_BL = windows(3, 60, 0)
        if name == "span":
            return span_corruption(window_BL, sentinels=SENTINELS, eos=EOS, rng=rng).source_BS.tolist()
        return prefix_lm(window_BL, eos=EOS, rng=rng).source_BS.tolist()

    assert draw(5) == draw(5)
    assert len({str(draw(seed)) for seed in range(8)}) > 1


@pytest.mark.parametrize("parts", [1, 3, 4, 9])
def test_parts_by_length_hold_every_row_once_and_nothing_but_padding_is_cut(parts: int) -> None:
    sources = [[5, 6, 7, 8, EOS], [9, EOS], [4, 4, 4, EOS], [3, EOS], [8, 8, EOS]]
    targets = [[1], [2, 3], [4, 5, 6], [7], [8, 9]]
    found = by_length(padded(sources, targets), parts=parts)
    rows = [
        ([int(token) for token in source if token], [int(token) for token in target if token != -100])
        for part in found
        for source, target in zip(*part, strict=True)
    ]
    order = [1, 3, 4, 2, 0]
    assert rows == [(sources[row], targets[row]) for row in order], "shortest first, in the given order where alike"
    for part in found:
        assert (part.source_BS[:, -1] != 0).any()
        assert (part.target_BT[:, -1] != -100).any()
    assert len(found) == min(parts, 5)
