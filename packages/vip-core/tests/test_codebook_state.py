"""How the codebook starts, and the state it keeps: fp32, in place, and enough to go on from."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from vip_core import Codebook, Quantizer, QuantizerConfig
from vip_core.codebook import Seen
from vip_core.kmeans import squared_distance
from vip_core.temperature import left_out, mixing, wanted

EMAS = ["mean", "reference"]
BUFFERS = ("code_KD", "count_K", "sum_KD", "temperature", "steps")


def config(**values: Any) -> QuantizerConfig:
    return QuantizerConfig(**({"codes": 4, "draws": 5, "temperature": 1.0, "warmup_steps": 0, "revive_below": 0.0} | values))


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def warm(codebook: Codebook, vector_ND: Tensor, generator: torch.Generator | None = None) -> None:
    """A training forward that draws nothing."""
    codebook.join_()
    codebook.learn_(Seen(vector_ND, torch.zeros(len(vector_ND), 4 if codebook.started else 0)), generator)


def state_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


# --- start ---


def test_kmeans_starts_the_codes_at_the_end_of_the_warmup() -> None:
    centre_KD = torch.tensor([[100.0, 0.0], [0.0, 100.0]])
    codebook = Codebook(config(codes=2, warmup_steps=3, temperature="auto"), normal(2, 2, seed=0))
    start = state_of(codebook)
    vector_ND = torch.cat([centre_KD + shift for shift in (-1.0, 0.0, 1.0, 2.0)])
    for step in range(1, 3):
        warm(codebook, normal(8, 2, seed=step))
        assert not codebook.started
        assert all(torch.equal(codebook.state_dict()[name], start[name]) for name in BUFFERS[:4])
        assert codebook.steps.item() == step
    # Of the eight vectors, the first two in random order start the centres; this seed takes one of each cluster.
    warm(codebook, vector_ND, torch.Generator().manual_seed(1))
    assert codebook.started
    order = codebook.code_KD[:, 0].argsort(descending=True)
    torch.testing.assert_close(codebook.code_KD[order], centre_KD + 0.5)
    # Eight vectors over two codes.
    assert codebook.count_K.tolist() == [4.0, 4.0]
    torch.testing.assert_close(codebook.sum_KD, 4 * codebook.code_KD)
    # The temperature is solved for on the same vectors.
    distance_NK = left_out(squared_distance(vector_ND, codebook.code_KD), torch.ones(8, dtype=torch.bool))
    nearest_N, tau = distance_NK.amin(1), codebook.temperature
    logit_NK = (nearest_N[:, None] - distance_NK) / tau
    assert mixing(logit_NK.softmax(1), logit_NK, nearest_N, tau).mean().item() == pytest.approx(wanted(2), rel=0.02)


def test_kmeans_starts_once() -> None:
    codebook = Codebook(config(warmup_steps=2), normal(4, 2, seed=0))
    for step in range(2):
        warm(codebook, normal(8, 2, seed=step))
    started = state_of(codebook)
    warm(codebook, normal(8, 2, seed=9))
    assert torch.equal(codebook.code_KD, started["code_KD"])


def test_a_start_without_any_vector_leaves_the_codes_where_they_are() -> None:
    codebook = Codebook(config(codes=2, warmup_steps=1, temperature="auto"), normal(2, 2, seed=0))
    before = state_of(codebook)
    warm(codebook, torch.zeros(0, 2))
    assert codebook.started
    assert all(torch.equal(codebook.state_dict()[name], before[name]) for name in BUFFERS[:4])


def test_without_warmup_the_given_codes_are_in_use_at_once() -> None:
    codebook = Codebook(config(), normal(4, 2, seed=0))
    assert codebook.started
    warm(codebook, normal(8, 2, seed=1))
    assert torch.equal(codebook.code_KD, normal(4, 2, seed=0))


def test_the_wrong_number_of_codes_is_refused_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(3, 2\).*\(4, D\)"):
        Codebook(config(codes=4), torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"\(4,\)"):
        Codebook(config(codes=4), torch.zeros(4))


@pytest.mark.parametrize("temperature", ["auto", 2.0])
@pytest.mark.parametrize("ema", EMAS)
def test_all_state_is_where_the_starting_codes_are(temperature: Any, ema: str) -> None:
    # The meta device stands for a GPU: it refuses to mix with the CPU just the same.
    codebook = Codebook(config(temperature=temperature, ema=ema), torch.zeros(4, 2, device="meta"))
    assert {buffer.device.type for buffer in codebook.buffers()} == {"meta"}


# --- state ---


def test_keys_and_dtypes_of_the_state() -> None:
    state = Codebook(config(), normal(4, 3, seed=0).bfloat16()).state_dict()
    assert {name: (tuple(value.shape), value.dtype) for name, value in state.items()} == {
        "code_KD": ((4, 3), torch.float32),
        "count_K": ((4,), torch.float32),
        "sum_KD": ((4, 3), torch.float32),
        "temperature": ((), torch.float32),
        "steps": ((), torch.int64),
    }


def test_the_starting_codes_are_copied() -> None:
    start_KD = normal(4, 3, seed=0).requires_grad_()
    codebook = Codebook(config(), start_KD)
    codebook.update_(Seen(normal(5, 3, seed=1), torch.full((5, 4), 0.25), torch.ones(5)), None)
    assert torch.equal(start_KD, normal(4, 3, seed=0))
    assert not any(buffer.requires_grad for buffer in codebook.buffers())


@pytest.mark.parametrize("cast", ["bfloat16", "half", "double", "to bfloat16", "to float64 and cpu"])
def test_casts_leave_the_state_in_fp32_and_in_place(cast: str) -> None:
    casts: dict[str, Callable[[torch.nn.Module], torch.nn.Module]] = {
        "bfloat16": lambda module: module.bfloat16(),
        "half": lambda module: module.half(),
        "double": lambda module: module.double(),
        "to bfloat16": lambda module: module.to(torch.bfloat16),
        "to float64 and cpu": lambda module: module.to("cpu", torch.float64),
    }
    codebook = Codebook(config(temperature="auto"), 1 / 3 + normal(4, 3, seed=0))
    parent = torch.nn.Sequential(torch.nn.Linear(2, 2), codebook)
    before, address = state_of(codebook), {name: buffer.data_ptr() for name, buffer in codebook.named_buffers()}
    casts[cast](parent)
    assert parent[0].weight.dtype != torch.float32
    for name, value in before.items():
        assert getattr(codebook, name).dtype == value.dtype
        assert torch.equal(getattr(codebook, name), value)
        assert getattr(codebook, name).data_ptr() == address[name]


def test_a_move_to_another_device_is_followed() -> None:
    codebook = Codebook(config(), normal(4, 3, seed=0)).to("meta")
    assert {buffer.device.type for buffer in codebook.buffers()} == {"meta"}
    assert {buffer.dtype for buffer in codebook.buffers()} == {torch.float32, torch.int64}


@pytest.mark.parametrize("ema", EMAS)
def test_training_keeps_every_buffer_at_its_address(ema: str) -> None:
    quantizer = Quantizer(config(ema=ema, temperature="auto", warmup_steps=2, revive_below=0.5), normal(4, 3, seed=0)).train()
    address = {name: buffer.data_ptr() for name, buffer in quantizer.named_buffers()}
    assert set(address) == {f"codebook.{name}" for name in BUFFERS}
    for step in range(6):
        quantizer(normal(2, 3, 3, seed=step))
    assert {name: buffer.data_ptr() for name, buffer in quantizer.named_buffers()} == address


def test_a_loaded_state_says_whether_codes_are_in_use() -> None:
    fresh, started = (Codebook(config(warmup_steps=2), normal(4, 3, seed=0)) for _ in range(2))
    for step in range(3):
        warm(started, normal(8, 3, seed=step))
    warming = state_of(fresh)
    assert (fresh.started, started.started) == (False, True)
    fresh.load_state_dict(started.state_dict())
    started.load_state_dict(warming)
    assert (fresh.started, started.started) == (True, False)


def test_a_given_temperature_wins_over_a_loaded_one() -> None:
    loaded = Codebook(config(temperature=3.0), normal(4, 2, seed=0))
    loaded.load_state_dict(Codebook(config(temperature=50.0), normal(4, 2, seed=1)).state_dict())
    assert loaded.temperature.item() == 3.0
    followed = Codebook(config(temperature="auto"), normal(4, 2, seed=0))
    followed.load_state_dict(Codebook(config(temperature=50.0), normal(4, 2, seed=1)).state_dict())
    assert followed.temperature.item() == 50.0


def test_the_first_ranks_state_says_whether_codes_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    # A rank that came with a trained codebook, where the first rank's is fresh, must wait through the warm-up as the first
    # does: one that did not would call collectives that the others do not, and hang.
    codebook = Codebook(config(warmup_steps=2), normal(4, 3, seed=0))
    codebook.load_state_dict(codebook.state_dict() | {"steps": torch.tensor(10)})
    assert codebook.started

    def broadcast(*tensors: Tensor) -> None:
        for tensor in tensors:
            tensor.zero_()

    monkeypatch.setattr("vip_core.codebook.world_size", lambda: 2)
    monkeypatch.setattr("vip_core.codebook.copy_from_first_rank_", broadcast)
    warm(codebook, normal(8, 3, seed=0))
    assert codebook.steps.item() == 1
    assert not codebook.started


def test_repr_says_how_large_it_is() -> None:
    assert "codes=4, dim=3" in repr(Codebook(config(), normal(4, 3, seed=0)))
