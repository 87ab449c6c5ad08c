"""One process alone; several together are in test_deepspeed.py and test_torchrun.py."""

import builtins
from typing import Any

import pytest
import torch
from vip_train.errors import UserError
from vip_train.world import World, join_world, leave_world


def test_without_a_launcher_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    world = join_world(deepspeed=False)
    assert (world.rank, world.size, world.first) == (0, 1, True)
    assert world.sum(1.5, 2.0) == [1.5, 2.0]
    tensor = torch.tensor([3.0])
    assert world.sum_(tensor) is tensor
    assert not torch.distributed.is_initialized()
    leave_world()


def test_only_rank_zero_is_first() -> None:
    assert not World(rank=1, size=2, device=torch.device("cpu")).first


def test_deepspeed_that_is_not_installed_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "deepspeed":
            raise ImportError("No module named 'deepspeed'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"DeepSpeed is not installed; pip install 'vip-train\[deepspeed\]'"):
        join_world(deepspeed=True)


def test_what_the_first_process_does_alone_is_simply_done() -> None:
    alone = World(rank=0, size=1, device=torch.device("cpu"))
    assert alone.from_first(lambda: [b"a", b""]) == [b"a", b""]
    done = []
    alone.first_does(lambda: done.append(1))
    assert done == [1]
