"""Cloze, lookup and echo: what stands where in source and target."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vip_train.pretrain.objectives import Question, cloze, echo, judge, lookup, padded

EOS, SENTINEL = 1, 900

seeds = st.integers(0, 2**32 - 1)


def windows(seed: int, *, batch: int = 3, length: int = 12) -> npt.NDArray[np.int64]:
    """Windows without a repeated token, so that every place can be told from every other."""
    return np.random.default_rng(seed).permutation(np.arange(2, 2 + batch * length)).reshape(batch, length)


@given(seed=seeds)
@settings(max_examples=50, deadline=None)
def test_cloze_put_back_into_its_place_is_the_window(seed: int) -> None:
    window_BL = windows(seed)
    pair = cloze(window_BL, sentinel=SENTINEL, eos=EOS, rng=np.random.default_rng(seed))
    for window_L, source_S, target_T in zip(window_BL, pair.source_BS, pair.target_BT, strict=True):
        assert source_S[-1] == target_T[-1] == EOS
        assert 1 <= len(target_T) - 1 <= 3
        at = int(np.flatnonzero(source_S == SENTINEL).item())
        assert np.array_equal(np.concatenate([source_S[:at], target_T[:-1], source_S[at + 1 : -1]]), window_L)


@given(seed=seeds)
@settings(max_examples=50, deadline=None)
def test_lookup_answers_with_what_follows_the_cue_in_the_text(seed: int) -> None:
    window_BL = windows(seed)
    pair = lookup(window_BL, sentinel=SENTINEL, eos=EOS, rng=np.random.default_rng(seed))
    for window_L, source_S, target_T in zip(window_BL, pair.source_BS, pair.target_BT, strict=True):
        cue, marker, text, closing = source_S[:3], source_S[3], source_S[4:-1], source_S[-1]
        assert marker == SENTINEL
        assert closing == target_T[-1] == EOS
        assert np.array_equal(text, window_L)
        after = int(np.flatnonzero(window_L == cue[-1]).item()) + 1
        assert np.array_equal(np.concatenate([cue, target_T[:-1]]), window_L[after - 3 : after + len(target_T) - 1])


@given(seed=seeds)
@settings(max_examples=50, deadline=None)
def test_echo_answers_with_what_the_text_does_not_hold(seed: int) -> None:
    window_BL = windows(seed)
    pair = echo(window_BL, sentinel=SENTINEL, eos=EOS, rng=np.random.default_rng(seed))
    for window_L, source_S, target_T in zip(window_BL, pair.source_BS, pair.target_BT, strict=True):
        said = target_T[:-1]
        assert source_S[-1] == target_T[-1] == EOS
        assert np.array_equal(source_S[:-1], np.concatenate([said, [SENTINEL], window_L]))
        assert not set(said) & set(window_L)


QUESTIONS = {2: Question([500, 501], ([600], [601, 602])), 3: Question([510], ([610], [611, 612], [613, 614, 615]))}


@pytest.mark.parametrize("answers", QUESTIONS)
@given(seed=seeds)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_judge_answers_whether_the_halves_belong_together(seed: int, answers: int) -> None:
    window_BL, question = windows(seed, batch=4), QUESTIONS[answers]
    first_BH, second_BH = window_BL[:, :6], window_BL[:, 6:]
    pair = judge(window_BL, sentinel=SENTINEL, eos=EOS, rng=np.random.default_rng(seed), question=question)
    assert pair.target_BT.shape == (4, max(map(len, question.answers)) + 1)
    for row, (source_S, target_T) in enumerate(zip(pair.source_BS, pair.target_BT, strict=True)):
        assert source_S[:6].tolist() == first_BH[row].tolist()
        assert source_S[6] == SENTINEL
        assert source_S[13:].tolist() == [*question.text, EOS]
        read = source_S[7:13].tolist()
        if read == second_BH[row].tolist():
            answer = 0
        elif read == second_BH[row][::-1].tolist():
            answer = 2
        else:
            assert read in np.delete(second_BH, row, axis=0).tolist(), "it comes from another row"
            answer = 1
        said = [*question.answers[answer], EOS]
        assert target_T.tolist() == said + [-100] * (len(target_T) - len(said))


def test_judge_gives_every_answer() -> None:
    rng = np.random.default_rng(0)
    pairs = [judge(windows(0, batch=8), sentinel=SENTINEL, eos=EOS, rng=rng, question=QUESTIONS[3]) for _ in range(5)]
    assert {int(target_T[0]) for pair in pairs for target_T in pair.target_BT} == {610, 611, 613}


@pytest.mark.parametrize("objective", [cloze, lookup, echo])
def test_the_same_seed_draws_the_same_batch(objective: object) -> None:
    assert callable(objective)
    first, second = (objective(windows(0), sentinel=SENTINEL, eos=EOS, rng=np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first.source_BS, second.source_BS)
    assert np.array_equal(first.target_BT, second.target_BT)


def test_rows_of_different_lengths_are_filled_up() -> None:
    found = padded([[5, 1], [6, 7, 8, 1]], [[9, 9, 1], [4]])
    assert found.source_BS.tolist() == [[5, 1, 0, 0], [6, 7, 8, 1]]
    assert found.target_BT.tolist() == [[9, 9, 1], [4, -100, -100]]
