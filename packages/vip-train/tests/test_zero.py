"""Our settings in DeepSpeed's words; what DeepSpeed does with them is in test_deepspeed.py and test_resume.py."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from vip_train.config import EngineConfig, OptimizerConfig
from vip_train.engine import check_engine
from vip_train.errors import UserError
from vip_train.world import World

NO_DEEPSPEED = shutil.which("g++") is None or importlib.util.find_spec("deepspeed") is None
pytestmark = [pytest.mark.deepspeed, pytest.mark.skipif(NO_DEEPSPEED, reason="needs deepspeed, and g++")]
WORLD = World(rank=0, size=4, device=torch.device("cpu"))


def written(**values: Any) -> dict[str, Any]:
    from vip_train.zero import deepspeed_config

    clip = values.pop("clip_norm", 1.0)
    return deepspeed_config(OptimizerConfig(clip_norm=clip), EngineConfig(**values), WORLD)


@pytest.mark.parametrize(("size", "parts"), [(None, 1), (8, 1), (99, 1), (4, 2), (3, 3), (1, 8)])
def test_parts_are_deepspeeds_to_count(size: int | None, parts: int) -> None:
    """A share is 8 of 32 rows. Without this DeepSpeed would step after each part."""
    assert written(micro_batch_size=size)["gradient_accumulation_steps"] == parts
    assert written(micro_batch_size=size)["train_micro_batch_size_per_gpu"] == min(size or 8, 8)


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
def test_clipping_is_said_because_deepspeed_clips_at_one_otherwise(clip_norm: float) -> None:
    assert written(clip_norm=clip_norm)["gradient_clipping"] == clip_norm
    assert written()["train_micro_batch_size_per_gpu"] == 8


def test_no_precision_is_said_because_deepspeed_would_cast_the_prompt() -> None:
    assert not {"bf16", "fp16", "amp", "torch_autocast"} & written(zero_stage=3).keys()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"zero_stage": 2}, {"stage": 2}),
        ({"zero_stage": 1, "offload": "cpu"}, {"stage": 1, "offload_optimizer": {"device": "cpu"}}),
        (
            {"zero_stage": 3, "offload": "cpu"},
            {"stage": 3, "offload_optimizer": {"device": "cpu"}, "offload_param": {"device": "cpu"}},
        ),
        # Optimizer state on NVMe resumes wrongly in silence, so it never gets there.
        (
            {"zero_stage": 3, "offload": "nvme", "nvme_path": Path("disk")},
            {
                "stage": 3,
                "offload_optimizer": {"device": "cpu"},
                "offload_param": {"device": "nvme", "nvme_path": "disk"},
            },
        ),
    ],
)
def test_offload_is_one_setting(values: dict[str, Any], expected: dict[str, Any]) -> None:
    assert written(**values)["zero_optimization"] == expected


def test_only_stage_3_loads_in_parts_and_in_the_backbones_own_dtype() -> None:
    from vip_train.zero import loading_config

    for stage in (0, 1, 2):
        assert loading_config(OptimizerConfig(), EngineConfig(zero_stage=stage), WORLD, torch.bfloat16) is None
    for dtype, enabled in ((torch.bfloat16, True), (torch.float32, False)):
        found = loading_config(OptimizerConfig(), EngineConfig(zero_stage=3), WORLD, dtype)
        assert found is not None
        assert found["bf16"] == {"enabled": enabled}


def test_offload_without_deepspeed_is_refused() -> None:
    with pytest.raises(UserError, match=r"engine\.offload=cpu: needs DeepSpeed"):
        check_engine(OptimizerConfig(), EngineConfig(offload="cpu"), deepspeed=False)


def test_a_disk_that_is_not_there_is_refused(tmp_path: Path) -> None:
    engine = EngineConfig(zero_stage=3, offload="nvme", nvme_path=tmp_path / "gone")
    with pytest.raises(UserError, match="gone: no such folder"):
        check_engine(OptimizerConfig(), engine, deepspeed=True)


def test_a_machine_without_libaio_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deepspeed.ops.op_builder import AsyncIOBuilder

    monkeypatch.setattr(AsyncIOBuilder, "is_compatible", lambda *_, **__: False)
    with pytest.raises(UserError, match="install libaio-dev"):
        check_engine(OptimizerConfig(), EngineConfig(zero_stage=3, offload="nvme", nvme_path=tmp_path), deepspeed=True)
