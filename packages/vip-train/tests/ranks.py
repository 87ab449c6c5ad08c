"""One of the processes that test_deepspeed.py starts by the `deepspeed` command: trains with every engine, saves what it found.

Arguments: the --local_rank of the command, the folder of the backbone, the folder of the results.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from vip_core import ContextualizerConfig, QuantizerConfig, VIPConfig, VIPPrompt
from vip_train.accumulation import take
from vip_train.backbones import Backbone, Precision, backbone_dtype, fingerprint, load_backbone
from vip_train.config import EngineConfig, OptimizerConfig
from vip_train.data import Batch, encode_answers, encode_sources
from vip_train.engine import build_engine
from vip_train.evaluation import evaluate
from vip_train.model import VIPModel
from vip_train.schedule import ScheduleConfig
from vip_train.scoring import Scoring
from vip_train.sharding import is_sharded, whole
from vip_train.tasks import Example
from vip_train.tokenised import TokenisedSplit
from vip_train.world import World, join_world, leave_world
from vip_train.zero import loading_config

ANSWERS = ("ba", "milotura", "ke lo")
EXAMPLES = [Example(f"Bake milo tura {number * number}.", ANSWERS[number % 3], "") for number in range(8)]
UNEVEN = EXAMPLES[:5]
STEPS = 5

Found = dict[str, Any]


def make(backbone: Backbone, method: Any) -> VIPModel:
    """The same model in every process."""
    embedding = backbone.model.get_input_embeddings().weight
    config = VIPConfig(
        prompt_length=3,
        method=method,
        contextualizer=ContextualizerConfig(width=8, layers=1, heads=2, feedforward=16),
        quantizer=QuantizerConfig(codes=7, draws=4, warmup_steps=3),
    )
    torch.manual_seed(0)
    with whole([embedding]):
        return VIPModel(backbone.model, VIPPrompt(config, embedding)).train()


def batch_of(backbone: Backbone, rank: int, size: int) -> Batch:
    """This process's share of the examples; all shares together are the whole."""
    mine = EXAMPLES[rank::size]
    sources = encode_sources([example.source for example in mine], backbone.tokenizer, 480)
    return Batch(
        sources.input_ids, sources.attention_mask, encode_answers([example.target for example in mine], backbone.tokenizer)
    )


def state_of(model: VIPModel) -> dict[str, Tensor]:
    with whole(model.prompt.parameters()):
        return {name: value.detach().clone() for name, value in model.prompt.state_dict().items()}


def figures(model: VIPModel, backbone: Backbone, world: World, **values: int) -> Found:
    """What an evaluation finds, in single numbers."""
    split = TokenisedSplit(UNEVEN, backbone.tokenizer, 480)
    record = evaluate(model, split, Scoring.among(ANSWERS), backbone.tokenizer, world, **values).record()
    return {name: value for name, value in record.items() if isinstance(value, float)}


def learn(
    folder: Path,
    world: World,
    *,
    stage: int | None,
    method: str = "vip-c",
    clip: float = 0.05,
    optimizer: Any = "adamw",
    precision: Precision = "fp32",
    **engine_values: Any,
) -> Found:
    """A few steps; `stage` None is plain torch. Other values are of the engine's settings."""
    config = OptimizerConfig(
        steps=STEPS,
        batch_size=len(EXAMPLES),
        name=optimizer,
        clip_norm=clip,
        prompt_learning_rate=0.1,
        contextualizer_learning_rate=0.01,
        schedule=ScheduleConfig(name="linear", warmup_steps=2),
    )
    deepspeed = stage is not None
    how = EngineConfig(zero_stage=stage or 0, **engine_values)
    sharded = loading_config(config, how, world, backbone_dtype(precision, world.device)) if deepspeed else None
    backbone = load_backbone(str(folder), precision=precision, sharded=sharded)
    model = make(backbone, method)
    engine = build_engine(model, config, how, world, deepspeed=deepspeed)
    torch.manual_seed(world.rank)
    batch = batch_of(backbone, world.rank, world.size)
    states = []
    for step in range(1, STEPS + 1):
        engine.set_learning_rates(config.learning_rates(step))
        engine.step(take(engine, batch, world.device, micro_batch_size=how.micro_batch_size).loss)
        states.append(state_of(model))
    frozen = load_backbone(str(folder), precision=precision).model
    held = sum(parameter.numel() for parameter in model.backbone.parameters())
    parts = [(is_sharded(parameter), parameter.dtype) for parameter in model.backbone.parameters()]
    dtypes = {parameter.dtype for parameter in frozen.parameters()}
    kept = fingerprint(model.backbone) == fingerprint(frozen) and {dtype for _, dtype in parts} == dtypes
    found: Found = {"states": states, "backbone kept": kept, "sharded": all(part for part, _ in parts), "held": held}
    found["optimizer"] = {name: str(value.dtype) for name, value in engine.optimizer_state().items()}
    if sharded is not None:
        found["uneven"] = figures(model, backbone, world, batch_size=1)
    return found


def measure(folder: Path, world: World) -> Found:
    """An evaluation on examples that do not divide evenly."""
    backbone = load_backbone(str(folder))
    model = make(backbone, "vip-c").eval()
    return figures(model, backbone, world)


def main() -> None:
    folder, results = Path(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    world = join_world(deepspeed=True)
    found: dict[str, Found] = {"world": {"rank": world.rank, "size": world.size, "sum": world.sum(1.0, float(world.rank))}}
    found["evaluation"] = measure(folder, world)
    found["torch"] = learn(folder, world, stage=None)
    for stage in (0, 1, 2, 3):
        found[f"zero {stage}"] = learn(folder, world, stage=stage)
    found["zero 2, clip 0"] = learn(folder, world, stage=2, clip=0.0)
    found["zero 0, adafactor"] = learn(folder, world, stage=0, optimizer="adafactor")
    found["codebook, zero 2, bf16"] = learn(folder, world, stage=2, method="vip", precision="bf16")
    found["codebook, zero 3, bf16"] = learn(folder, world, stage=3, method="vip", precision="bf16")
    found["codebook, torch"] = learn(folder, world, stage=None, method="vip", precision="bf16")
    for stage in (0, 1):
        found[f"codebook, zero {stage}, bf16"] = learn(folder, world, stage=stage, method="vip", precision="bf16")
    # Of four rows, three and one.
    for name, stage in (("torch", None), *((f"zero {stage}", stage) for stage in (0, 1, 2, 3))):
        found[f"{name}, parts"] = learn(folder, world, stage=stage, micro_batch_size=3)
    found["zero 2, cpu, parts"] = learn(folder, world, stage=2, micro_batch_size=1, offload="cpu")
    for name, stage in (("torch", None), ("zero 2", 2), ("zero 3", 3)):
        found[f"{name}, recomputed"] = learn(folder, world, stage=stage, gradient_checkpointing=True, micro_batch_size=2)
        found[f"codebook, {name}, parts"] = learn(
            folder, world, stage=stage, method="vip", gradient_checkpointing=True, micro_batch_size=1, precision="bf16"
        )
    for name, stage in (("torch", None), ("zero 2", 2)):
        found[f"{name}, int8"] = learn(folder, world, stage=stage, precision="int8")
        if importlib.util.find_spec("bitsandbytes") is not None:
            found[f"{name}, nf4"] = learn(folder, world, stage=stage, precision="nf4")
    leave_world()
    torch.save(found, results / f"{world.rank}.pt")


if __name__ == "__main__":
    main()
