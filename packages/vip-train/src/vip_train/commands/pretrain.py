"""`vip-train pretrain`: makes a small T5 backbone from a text corpus."""

from collections.abc import Sequence

from vip_train.config import parse
from vip_train.pretrain.loop import PretrainConfig, pretrain


def run(arguments: Sequence[str]) -> None:
    """Makes a backbone."""
    config = parse(
        PretrainConfig, arguments, prog="vip-train pretrain", description="Makes a small T5 backbone from a text corpus."
    )
    print(f"backbone {pretrain(config)}")
