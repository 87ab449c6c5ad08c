"""Two and four gloo processes with different codes and data hold one codebook; their scenarios are in ranks.py."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from vip_core import Codebook, QuantizerConfig
from vip_core.codebook import Seen
from vip_core.distributed import copy_from_first_rank_, gather_from_ranks, sum_over_ranks_, world_size

SCRIPT = Path(__file__).with_name("ranks.py")
TRAINED = ["train mean", "train reference", "train from k-means", "train with a rank always empty"]


spec = importlib.util.spec_from_file_location("vip_core_test_ranks", SCRIPT)
assert spec is not None
assert spec.loader is not None
ranks_py = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ranks_py)
normal = ranks_py.normal


@pytest.fixture(scope="module", params=[2, 4], ids="{} ranks".format)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each rank found. The processes start once, because importing torch is most of what they do."""
    ranks: int = request.param
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    script = [sys.executable, "-W", "error", str(SCRIPT)]
    started = [
        subprocess.Popen(
            [*script, str(rank), str(ranks), str(folder / "group"), str(folder / f"{rank}.pt")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks)
    ]
    try:
        said = [process.communicate(timeout=300)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * ranks, "\n".join(said)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(ranks)]


def assert_bitwise_equal(first: dict[str, Tensor], *others: dict[str, Tensor]) -> None:
    for other in others:
        assert first.keys() == other.keys()
        for name, value in first.items():
            assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("scenario", TRAINED)
def test_ranks_hold_the_same_codes_after_every_step(found: list[dict[str, Any]], scenario: str) -> None:
    states = [rank[scenario]["states"] for rank in found]
    assert len(states[0]) == 6
    for step in zip(*states, strict=True):
        assert_bitwise_equal(*step)


@pytest.mark.parametrize("scenario", TRAINED)
def test_ranks_train_on_data_of_their_own_and_the_codes_move(found: list[dict[str, Any]], scenario: str) -> None:
    # Without this, ranks that agree might have agreed from the start.
    first, second, *_ = (rank[scenario] for rank in found)
    assert first["weights"][-1].shape != second["weights"][-1].shape
    assert first["weights"][-1].sum() > 0
    codes = [state["codebook.code_KD"] for state in first["states"]]
    assert not torch.equal(codes[-1], codes[-2])
    assert second["weights"][2].shape[0] == 0


@pytest.mark.parametrize("ema", ["mean", "reference"])
def test_shares_of_a_batch_move_the_codes_like_the_whole(found: list[dict[str, Any]], ema: Any) -> None:
    codebook = Codebook(QuantizerConfig(codes=6, ema=ema, decay=0.9, warmup_steps=0, revive_below=0.0), normal(6, 5, seed=0))
    for step in range(5):
        vector_ND, weight_NK = normal(8, 5, seed=step), normal(8, 6, seed=50 + step).softmax(1)
        codebook.update_(Seen(vector_ND, weight_NK, normal(8, seed=99 + step).abs()), None)
    for rank in found:
        for name, value in codebook.state_dict().items():
            torch.testing.assert_close(rank[f"update {ema}"][name], value, rtol=0, atol=1e-6)


def test_the_first_ranks_codes_are_everyones(found: list[dict[str, Any]]) -> None:
    # k-means ends the second step of the warm-up; until then the codes are those that rank 0 was built with.
    for rank in found:
        for state in rank["train from k-means"]["states"][:1]:
            assert torch.equal(state["codebook.code_KD"], normal(6, 5, seed=0))


def test_a_rank_without_rows_takes_part_in_kmeans_and_backward(found: list[dict[str, Any]]) -> None:
    first, *others = (rank["prompt"] for rank in found)
    assert first["quantizer.codebook.steps"].item() == 5
    assert first["quantizer.codebook.code_KD"].isfinite().all()
    assert_bitwise_equal(first, *others)


def test_parts_are_held_also_where_the_first_of_them_joins_the_group(found: list[dict[str, Any]]) -> None:
    assert [rank["held"]["steps"].item() for rank in found] == [2] * len(found), "two steps of three parts"
    assert_bitwise_equal(*(rank["held"] for rank in found))


def test_ranks_with_shares_of_a_batch_train_like_one_process_with_all_of_it(found: list[dict[str, Any]]) -> None:
    alone = ranks_py.share_of_batch(0, 1)()
    for number, rank in enumerate(found):
        shared = rank["share of a batch"]
        assert_bitwise_equal(found[0]["share of a batch"]["state"], shared["state"])
        for name, value in alone["state"].items():
            torch.testing.assert_close(shared["state"][name], value, rtol=1e-4, atol=1e-5, msg=name)
        for mine_BPD, whole_BPD in zip(shared["outputs"], alone["outputs"], strict=True):
            torch.testing.assert_close(mine_BPD, whole_BPD[number :: len(found)], rtol=1e-4, atol=1e-5)


def test_kmeans_starts_from_the_vectors_of_all_ranks(found: list[dict[str, Any]]) -> None:
    # Every rank offers rows of the same number; those that stand for nothing must not become codes.
    first, *others = (rank["start"] for rank in found)
    assert sorted(first["code_KD"][:, 0].tolist()) == [100.0, 101.0, 102.0, 103.0, 200.0]
    assert_bitwise_equal(first, *others)


@pytest.mark.parametrize(("scenario", "dead"), [("revive two", 2), ("revive eight", 8)])
def test_ranks_take_turns_in_reviving_codes(found: list[dict[str, Any]], scenario: str, dead: int) -> None:
    first, *others = (rank[scenario] for rank in found)
    assert_bitwise_equal(first, *others)
    revived = [value for value in first["code_KD"][:dead, 0].tolist() if value >= 100.0]
    # Rank 0 first, then rank 1's only vector, then what rank 0 has left, until vectors or dead codes run out. Each of W ranks
    # offers ceil(9 / W), so of four ranks the first offers three of its four.
    assert len(set(revived)) == len(revived) == min(dead, {2: 5, 4: 4}[len(found)])
    assert [value == 200.0 for value in revived] == [False, True, False, False, False][: len(revived)]


def test_codes_that_were_used_before_there_was_a_group_come_together(found: list[dict[str, Any]]) -> None:
    assert_bitwise_equal(*(rank["trained alone"] for rank in found))


def test_collectives_sum_copy_and_gather_in_rank_order(found: list[dict[str, Any]]) -> None:
    for rank in found:
        seam = rank["collectives"]
        ranks = len(found)
        assert seam["size"] == ranks
        one, two, tens = {2: (3.0, 5.0, 11.0), 4: (10.0, 14.0, 1111.0)}[ranks]
        assert [tensor.tolist() for tensor in seam["sums"]] == [[one, two], [[tens, tens]]]
        assert [tensor.tolist() for tensor in seam["copies"]] == [[5.0], 0]
        assert seam["gathered"].tolist() == [[float(number)] * 2 for number in range(ranks) for _ in range(3)]
        assert seam["flags"].tolist() == [True, True, *[False, True] * (ranks - 1)]


def test_without_a_group_nothing_is_changed() -> None:
    tensor = torch.arange(3.0)
    sum_over_ranks_(tensor)
    copy_from_first_rank_(tensor)
    assert gather_from_ranks(tensor) is tensor
    assert tensor.tolist() == [0.0, 1.0, 2.0]
    assert world_size() == 1
