"""Memory and time of a training step under the settings that save memory, on a T5 of random weights.

A step is forward, backward and the optimizer's, of `VIPConfig()` at the given P. Weights: what the backbone holds. Step: the
most that was held at once beyond what was there before, see quantizer.py. Times are medians of rounds in which the settings
take turns.

    nox -s bench -- memory [--batch 16 --source 128 --prompt 100 --width 512 --layers 6 --rounds 3]
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from quantizer import Step, machine, measure
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration
from vip_core import VIPConfig, VIPPrompt
from vip_train.accumulation import take
from vip_train.backbones import BUNDLED, backbone_folder, load_backbone
from vip_train.config import EngineConfig, OptimizerConfig
from vip_train.data import Batch
from vip_train.engine import build_engine
from vip_train.model import VIPModel
from vip_train.world import World

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def settings(batch: int) -> dict[str, dict[str, Any]]:
    part = {"micro_batch_size": max(batch // 4, 1)}
    return {
        "fp32": {"precision": "fp32"},
        "fp32, 4 parts": {"precision": "fp32"} | part,
        "fp32, recomputed": {"precision": "fp32", "gradient_checkpointing": True},
        "fp32, recomputed, 4 parts": {"precision": "fp32", "gradient_checkpointing": True} | part,
        "bf16": {"precision": "bf16"},
        "int8": {"precision": "int8"},
        "nf4": {"precision": "nf4"},
        "nf4, recomputed, 4 parts": {"precision": "nf4", "gradient_checkpointing": True} | part,
    }


def make(folder: Path, batch: Batch, prompt: int, precision: Any, **engine_values: Any) -> tuple[VIPModel, Step]:
    world = World(rank=0, size=1, device=torch.device(DEVICE))
    backbone = load_backbone(str(folder), precision=precision, device=DEVICE)
    torch.manual_seed(0)
    embedding_VD = backbone.model.get_input_embeddings().weight
    model = VIPModel(backbone.model, VIPPrompt(VIPConfig(prompt_length=prompt), embedding_VD.cpu()).to(DEVICE)).train()
    config = EngineConfig(**engine_values)
    engine = build_engine(model, OptimizerConfig(batch_size=len(batch.input_ids)), config, world, deepspeed=False)
    return model, lambda: engine.step(take(engine, batch, world.device, micro_batch_size=config.micro_batch_size).loss)


def weights(model: VIPModel) -> int:
    found = [*model.backbone.parameters(), *model.backbone.buffers()]
    found += [value for weight in found if hasattr(weight, "quant_state") for value in (weight.quant_state.absmax,)]
    return sum({value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in found}.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"batch": 16, "source": 128, "prompt": 100, "width": 512, "layers": 6, "rounds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    ids = torch.randint(5, 4000, (given.batch, given.source), generator=torch.manual_seed(0))
    batch = Batch(ids, torch.ones_like(ids), ids[:, :3])
    with tempfile.TemporaryDirectory() as temporary:
        config = T5Config(
            vocab_size=4096, d_model=given.width, d_ff=2 * given.width, num_layers=given.layers, num_heads=given.width // 64,
            feed_forward_proj="gated-gelu", decoder_start_token_id=0,
        )  # fmt: skip
        T5ForConditionalGeneration(config).save_pretrained(temporary)
        AutoTokenizer.from_pretrained(backbone_folder(BUNDLED)).save_pretrained(temporary)
        made = {name: make(Path(temporary), batch, given.prompt, **values) for name, values in settings(given.batch).items()}
    print(f"{machine(DEVICE)}, torch {torch.__version__}")
    costs = measure({name: step for name, (_, step) in made.items()}, DEVICE, given.rounds)
    print(f"{'':28s} {'weights MiB':>12s} {'step MiB':>10s} {'seconds':>9s}")
    for name, (model, _) in made.items():
        print(f"{name:28s} {weights(model) / 2**20:12.0f} {costs[name].extra_bytes / 2**20:10.0f} {costs[name].seconds:9.2f}")


if __name__ == "__main__":
    main()
