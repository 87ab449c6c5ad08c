"""One of the processes that test_deepspeed.py starts by the `deepspeed` command: trains with every engine, saves what it found.

Arguments: the --local_rank of the command, the folder of the backbone, the folder of the results.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from vip_core import ContextualizerConfig, QuantizerConfig, VIPConfig, VIPPrompt
from vip_train.backbones import Backbone, Precision, load_backbone
from vip_train.config import EngineConfig, OptimizerConfig
from vip_train.data import Batch, encode_answers, encode_sources
from vip_train.engine import build_engine
from vip_train.evaluation import evaluate
from vip_train.model import VIPModel
from vip_train.tasks import Example
from vip_train.world import World, join_world, leave_world

ANSWERS = ("ba", "milotura", "ke lo")
EXAMPLES = [Example(f"Bake milo tura {number * number}.", ANSWERS[number % 3], "") for number in range(8)]
UNEVEN = EXAMPLES[:5]
STEPS = 5

Found = dict[str, Any]


def make(backbone: Backbone, method: Any) -> VIPModel:
    """The same model in every process."""
    config = VIPConfig(
        prompt_length=3,
        method=method,
        contextualizer=ContextualizerConfig(width=8, layers=1, heads=2, feedforward=16),
        quantizer=QuantizerConfig(codes=7, draws=4, warmup_steps=2),
    )
    torch.manual_seed(0)
    return VIPModel(backbone.model, VIPPrompt(config, backbone.model.get_input_embeddings().weight)).train()


def batch_of(backbone: Backbone, rank: int, size: int) -> Batch:
    """This process's share of the examples; all shares together are the whole."""
    mine = EXAMPLES[rank::size]
    sources = encode_sources([example.source for example in mine], backbone.tokenizer, 480)
    return Batch(
        sources.input_ids, sources.attention_mask, encode_answers([example.target for example in mine], backbone.tokenizer)
    )


def state_of(model: VIPModel) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.prompt.state_dict().items()}


def learn(
    folder: Path,
    world: World,
    *,
    stage: int | None,
    method: str = "vip-c",
    clip: float = 0.05,
    optimizer: Any = "adamw",
    precision: Precision = "fp32",
) -> Found:
    """A few steps; `stage` None is plain torch."""
    backbone = load_backbone(str(folder), precision=precision)
    model = make(backbone, method)
    config = OptimizerConfig(
        batch_size=len(EXAMPLES), name=optimizer, clip_norm=clip, prompt_learning_rate=0.1, contextualizer_learning_rate=0.01
    )
    deepspeed = stage is not None
    engine = build_engine(model, config, EngineConfig(zero_stage=stage or 0), world, deepspeed=deepspeed)
    torch.manual_seed(world.rank)
    batch = batch_of(backbone, world.rank, world.size)
    states = []
    for _ in range(STEPS):
        engine.step(engine.forward(*batch).loss)
        states.append(state_of(model))
    frozen = load_backbone(str(folder), precision=precision).model.state_dict()
    kept = all(torch.equal(value, frozen[name]) for name, value in model.backbone.state_dict().items())
    return {"states": states, "backbone kept": kept}


def measure(folder: Path, world: World) -> Found:
    """An evaluation on examples that do not divide evenly."""
    backbone = load_backbone(str(folder))
    model = make(backbone, "vip-c").eval()
    return evaluate(model, UNEVEN, ANSWERS, backbone.tokenizer, world, max_source_length=480)._asdict()


def main() -> None:
    folder, results = Path(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    world = join_world(deepspeed=True)
    found: dict[str, Found] = {"world": {"rank": world.rank, "size": world.size, "sum": world.sum(1.0, float(world.rank))}}
    found["evaluation"] = measure(folder, world)
    found["torch"] = learn(folder, world, stage=None)
    for stage in (0, 1, 2):
        found[f"zero {stage}"] = learn(folder, world, stage=stage)
    found["zero 2, clip 0"] = learn(folder, world, stage=2, clip=0.0)
    found["zero 0, adafactor"] = learn(folder, world, stage=0, optimizer="adafactor")
    found["codebook, zero 2, bf16"] = learn(folder, world, stage=2, method="vip", precision="bf16")
    found["codebook, torch"] = learn(folder, world, stage=None, method="vip")
    leave_world()
    torch.save(found, results / f"{world.rank}.pt")


if __name__ == "__main__":
    main()
