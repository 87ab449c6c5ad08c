"""What runs start from."""

from collections.abc import Callable
from pathlib import Path

import torch
from vip_train.config import TrainConfig
from vip_train.fine_tuning import WholeBackbone
from vip_train.start import starting_backbone, starting_prompt
from vip_train.world import World

Settings = Callable[..., TrainConfig]
ALONE = World(rank=0, size=1, device=torch.device("cpu"))


def test_a_prompt_is_that_of_its_seed(settings: Settings, tmp_path: Path) -> None:
    def start(seed: int) -> dict[str, torch.Tensor]:
        config = settings(output=tmp_path, seed=seed)
        return starting_prompt(config, starting_backbone(config, ALONE, deepspeed=False), ALONE).state_dict()

    first, again, other = start(3), start(3), start(4)
    assert all(torch.equal(first[name], value) for name, value in again.items())
    assert not torch.equal(first["prompt_PD"], other["prompt_PD"])
    assert not torch.equal(first["contextualizer.down.weight"], other["contextualizer.down.weight"])


def test_a_backbone_has_the_precision_asked_for_and_fp32_if_it_is_trained(settings: Settings, tmp_path: Path) -> None:
    config = settings(output=tmp_path, precision="bf16")
    assert starting_backbone(config, ALONE, deepspeed=False).model.dtype == torch.bfloat16
    config = settings(output=tmp_path, full_fine_tuning=True)
    backbone = starting_backbone(config, ALONE, deepspeed=False)
    assert backbone.model.dtype == torch.float32
    prompt = starting_prompt(config, backbone, ALONE)
    assert isinstance(prompt, WholeBackbone)
    assert {id(weight) for weight in prompt.parameters()} == {id(weight) for weight in backbone.model.parameters()}
