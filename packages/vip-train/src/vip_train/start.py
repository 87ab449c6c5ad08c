"""What a run starts from: the backbone and the prompt that its settings ask for."""

import torch
from vip_core import VIPPrompt

from vip_train.backbones import Backbone, backbone_dtype, load_backbone
from vip_train.config import TrainConfig
from vip_train.fine_tuning import WholeBackbone
from vip_train.sharding import whole
from vip_train.world import World


def starting_backbone(config: TrainConfig, world: World, *, deepspeed: bool) -> Backbone:
    """The frozen backbone on this process's device, or this process's share of it at ZeRO stage 3.

    Raises:
        UserError: see `load_backbone`.
    """
    sharded = None
    if deepspeed and config.engine.zero_stage == 3:
        from vip_train.zero import loading_config

        sharded = loading_config(config.optimizer, config.engine, world, backbone_dtype(config.precision, world.device))
    precision = "fp32" if config.full_fine_tuning else config.precision
    return load_backbone(config.backbone, precision=precision, device=world.device, sharded=sharded)


def starting_prompt(config: TrainConfig, backbone: Backbone, world: World) -> VIPPrompt:
    """The prompt as the seed makes it, the same in every process; the whole backbone in its place in full fine-tuning."""
    if config.full_fine_tuning:
        return WholeBackbone(backbone.model)
    embedding_VD = backbone.model.get_input_embeddings().weight
    torch.manual_seed(config.optimizer.seed)
    with whole([embedding_VD]):
        return VIPPrompt(config.vip, embedding_VD.cpu()).to(world.device)
