"""The one training recipe: a frozen backbone, a prompt, a task, an engine."""

import json
import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from vip_core import VIPPrompt, perplexity, usage

from vip_train.backbones import load_backbone
from vip_train.config import TrainConfig, to_yaml
from vip_train.data import Shuffled, collator, encode_sources
from vip_train.engine import World, build_engine, join_world, leave_world, uses_deepspeed
from vip_train.errors import UserError
from vip_train.evaluation import Baseline, Evaluation, baseline, evaluate
from vip_train.files import new_folder
from vip_train.model import VIPModel
from vip_train.tasks import Example, get_task


def next_output(task: str, root: Path = Path("runs")) -> Path:
    """The first of runs/<task>-1, -2, ... that is not there."""
    number = 1
    while (root / f"{task.replace('/', '-')}-{number}").exists():
        number += 1
    return root / f"{task.replace('/', '-')}-{number}"


def train(config: TrainConfig, *, launched_by_deepspeed: bool = False) -> Path:
    """Trains one adapter and returns the folder of the run.

    The folder holds `adapter/`, `config.yaml` (resolved, reusable), `metrics.jsonl` and `results.json`. It appears when the
    run is complete; an error leaves nothing behind.

    Args:
        config: the run.
        launched_by_deepspeed: whether the `deepspeed` command started this process.

    Raises:
        UserError: anything in the data, settings or folders is wrong, or the loss stops being finite.
    """
    deepspeed = uses_deepspeed(config.engine, launched_by_deepspeed=launched_by_deepspeed)
    task = get_task(config.task)
    examples = task.load("train", config.data_dir)
    validation = task.load("validation", config.data_dir)
    output = config.output or next_output(config.task)
    world = join_world(deepspeed=deepspeed)
    try:
        if config.optimizer.batch_size % world.size:
            raise UserError(
                f"optimizer.batch_size={config.optimizer.batch_size} must be divisible by the {world.size} processes"
            )
        with ExitStack() as stack:
            folder = stack.enter_context(new_folder(output)) if world.first else None
            _run(config, world, deepspeed, examples, validation, tuple(dict.fromkeys(task.answers.values())), folder)
    finally:
        leave_world()
    return output


def _run(
    config: TrainConfig,
    world: World,
    deepspeed: bool,
    examples: list[Example],
    validation: list[Example],
    answers: tuple[str, ...],
    folder: Path | None,
) -> None:
    torch.manual_seed(config.optimizer.seed)
    backbone = load_backbone(config.backbone, precision=config.precision, device=world.device)
    prompt = VIPPrompt(config.vip, backbone.model.get_input_embeddings().weight.cpu()).to(world.device)
    model = VIPModel(backbone.model, prompt).train()
    engine = build_engine(model, config.optimizer, config.engine, world, deepspeed=deepspeed)
    # From here on ranks draw different codes; what must agree between them is shared by vip_core.
    torch.manual_seed(config.optimizer.seed + world.rank)
    batches = Shuffled(
        examples,
        batch_size=config.optimizer.batch_size // world.size,
        rank=world.rank,
        world_size=world.size,
        seed=config.optimizer.seed,
        collate=collator(backbone.tokenizer, config.max_source_length),
    )
    constant = baseline(examples, validation)
    if world.first:
        _announce(config, model, world, deepspeed, examples, validation, constant, backbone.tokenizer)

    started = time.monotonic()
    recent: list[torch.Tensor] = []
    record: dict[str, Any] = {}
    bar = tqdm(range(1, config.optimizer.steps + 1), desc="train", unit="step", mininterval=1.0, disable=not world.first)
    for step in bar:
        output = engine.forward(*next(batches).to(world.device))
        engine.step(output.loss)
        recent.append(torch.stack([output.nll_B.detach().mean(), output.prompted.commitment.detach()]))
        if step % 20 == 0:
            codes = perplexity(usage(output.prompted.weight_BPK))
            bar.set_postfix(loss=f"{recent[-1][0]:.3f}", codes=f"{codes:.0f}", refresh=False)
        if step % config.optimizer.evaluate_every == 0 or step == config.optimizer.steps:
            nll, commitment, count = world.sum(*torch.stack(recent).sum(0).tolist(), len(recent))
            recent.clear()
            if not math.isfinite(nll + commitment):
                raise UserError(f"the loss is not finite at step {step}: lower the learning rates")
            found = evaluate(model, validation, answers, backbone.tokenizer, world, max_source_length=config.max_source_length)
            if not math.isfinite(found.nll):
                raise UserError(f"the validation loss is not finite after step {step}: lower the learning rates")
            record = {
                "step": step,
                "seconds": round(time.monotonic() - started, 1),
                "train_nll": nll / count,
                "commitment": commitment / count,
                **{f"validation_{name}": value for name, value in found.record().items()},
            }
            if folder is not None:
                bar.write(_line(record, found))
                with (folder / "metrics.jsonl").open("a", encoding="utf-8") as metrics:
                    metrics.write(json.dumps(record) + "\n")
    if folder is not None:
        _write(
            folder,
            config,
            model,
            answers,
            {**record, "majority_accuracy": constant.majority, "label_entropy": constant.entropy},
        )


def _announce(
    config: TrainConfig,
    model: VIPModel,
    world: World,
    deepspeed: bool,
    examples: list[Example],
    validation: list[Example],
    constant: Baseline,
    tokenizer: Any,
) -> None:
    """Says what is about to be trained, on what, and what a constant answer would reach."""
    trainable = sum(parameter.numel() for parameter in model.prompt.parameters())
    frozen = sum(parameter.numel() for parameter in model.backbone.parameters())
    how = f"DeepSpeed ZeRO {config.engine.zero_stage}" if deepspeed else "torch"
    truncated = encode_sources([example.source for example in examples], tokenizer, config.max_source_length).truncated
    tqdm.write(
        f"{config.task}: {len(examples)} training and {len(validation)} validation examples"
        + (f", {truncated} cut to {config.max_source_length} tokens" if truncated else "")
        + f"\nbackbone {config.backbone}: {frozen:,} frozen parameters; method {config.vip.method}: {trainable:,} trained"
        + f"\n{how}, {world.size} process{'es' if world.size > 1 else ''} on {world.device.type}"
        + f"\na constant answer reaches accuracy {constant.majority:.3f} and loss {constant.entropy:.3f}"
    )


def _line(record: dict[str, Any], found: Evaluation) -> str:
    """One evaluation as a person reads it."""
    line = f"step {record['step']:5d}  loss {record['train_nll']:.3f}  accuracy {found.accuracy:.3f}"
    codes = found.selection
    if codes.code_perplexity:
        line += f"  code perplexity {codes.code_perplexity:.1f}  codes used {codes.codes_used:.0%}"
        line += f"  bits on input {codes.input_bits:.2f}, label {codes.label_bits:.3f}"
    return line


def _write(folder: Path, config: TrainConfig, model: VIPModel, answers: tuple[str, ...], results: dict[str, Any]) -> None:
    """Everything a run leaves behind."""
    rows = [f"| {name} | {value:.6g} |" for name, value in results.items() if not isinstance(value, tuple)]
    model.save_pretrained(
        folder / "adapter",
        backbone=config.backbone,
        task=config.task,
        answers=answers,
        max_source_length=config.max_source_length,
        results="\n".join(["| | |", "|---|---|", *rows]),
    )
    (folder / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
