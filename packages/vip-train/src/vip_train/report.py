"""What training and evaluation say to the person who started them."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from vip_train.config import TrainConfig
from vip_train.evaluation import Evaluation
from vip_train.model import VIPModel
from vip_train.scoring import Baseline, Scoring
from vip_train.sharding import size
from vip_train.tasks import Example
from vip_train.tasks.own import Skipped
from vip_train.tokenised import TokenisedSplit
from vip_train.world import World

_ANSWERS = 12
"""Lines that say how often answers come; the last is of all the others, if there are more."""


def announce(
    config: TrainConfig,
    model: VIPModel,
    world: World,
    deepspeed: bool,
    training: TokenisedSplit,
    validation: TokenisedSplit,
    constant: Baseline,
) -> None:
    """Says what is about to be trained, on what, and what a constant answer would reach."""
    whole = sum(size(parameter) for parameter in model.backbone.parameters())
    if config.precision == "nf4":
        whole = model.backbone.num_parameters()  # knows that a byte holds two
    method = "full fine-tuning" if config.full_fine_tuning else f"method {config.vip.method}"
    frozen = 0 if config.full_fine_tuning else whole
    how = f"DeepSpeed ZeRO {config.engine.zero_stage}" if deepspeed else "torch"
    if config.engine.offload != "none":
        how += f" with offload to {config.engine.offload}"
    tqdm.write(
        f"{config.run_name}: {len(training)} training and {len(validation)} validation examples"
        + (", held out by the hash of the source" if config.train_file and not config.validation_file else "")
        + (f", {training.truncated} cut to {config.max_source_length} tokens" if training.truncated else "")
        + f"\nbackbone {config.backbone}: {frozen:,} frozen parameters; {method}: {trained(model):,} trained"
        + f"\n{how}, {world.size} process{'es' if world.size > 1 else ''} on {world.device.type}"
        + f"\na constant answer reaches {_scores(constant.scores)} and loss {constant.entropy:.3f}"
    )


def trained(model: VIPModel) -> int:
    """How many parameters are trained."""
    return sum(size(parameter) for parameter in model.prompt.parameters())


def data(training: TokenisedSplit, scoring: Scoring, skipped: Skipped | None) -> str:
    """What the training split is like: how often fixed answers come, how long texts are, and which rows were skipped."""
    lines = []
    counts = scoring.balance(training.examples)
    shown, total = list(counts.items()), sum(counts.values())
    if len(shown) > _ANSWERS:
        rest = shown[_ANSWERS - 1 :]
        shown = [*shown[: _ANSWERS - 1], (f"{len(rest)} others", sum(count for _, count in rest))]
    width = max((len(answer) for answer, _ in shown), default=0)
    lines += [f"  {answer:<{width}}  {count} ({count / max(1, total):.1%})" for answer, count in shown]
    lines.append(f"source tokens: {_lengths(training.whole_length_N)}, {training.truncated} cut")
    lines.append(f"target tokens: {_lengths(training.target_length_N)}")
    if skipped is not None:
        lines.append(f"{skipped.rows} bad rows skipped" + "".join(f"\n  {reason}" for reason in skipped.reasons))
    return "\n".join(lines)


def _lengths(length_N: Tensor) -> str:
    sorted_N = length_N.sort().values
    middle, most = (int(sorted_N[int(share * (len(sorted_N) - 1))]) for share in (0.5, 0.95))
    return f"median {middle}, 95% at most {most}, longest {int(sorted_N[-1])}"


def line(record: dict[str, Any], found: Evaluation) -> str:
    """One evaluation as a person reads it."""
    text = f"step {record['step']:5d}  loss {record['train_nll']:.3f}  {_scores(found.scores.values)}"
    if found.scores.unparsed:
        text += f"  unparsed {found.scores.unparsed}"
    codes = found.selection
    if codes.code_perplexity:
        text += f"  code perplexity {codes.code_perplexity:.1f}  codes used {codes.codes_used:.0%}"
        text += f"  bits on input {codes.input_bits:.2f}, label {codes.label_bits:.3f}"
    return text


def batch(
    rows: Sequence[int], examples: Sequence[Example], nll: Sequence[float], tokenizer: PreTrainedTokenizerBase
) -> list[dict[str, Any]]:
    """A batch for a person to look at."""
    return [
        {
            "example": row,
            "source": example.source,
            "target": example.target,
            "source_ids": tokenizer(example.source)["input_ids"],
            "target_ids": tokenizer(example.target)["input_ids"],
            "nll": value if math.isfinite(value) else str(value),
        }
        for row, example, value in zip(rows, examples, nll, strict=True)
    ]


def score_lines(figures: dict[str, Any], split: str, constant: str, called: str) -> list[str]:
    """The scores of a split, each beside that of a constant answer and above those of its groups.

    Args:
        figures: with the split's name before each of its own.
        split: that name.
        constant: what is before the scores of constant answers.
        called: what these are.
    """
    lines = []
    names = [key.removeprefix(f"{constant}_") for key in figures if key.startswith(f"{constant}_")]
    width = max(16, *map(len, names))
    for name in names:
        score, least = figures[f"{split}_{name}"], figures[f"{constant}_{name}"]
        below = ", which is better" if score < least else ""
        lines.append(f"{name:<{width}} {score:.3f}   ({called}: {least:.3f}{below})")
        lines += [
            f"  {key.removeprefix(f'{split}_{name}/'):<30} {value:.3f}"
            for key, value in figures.items()
            if key.startswith(f"{split}_{name}/") and f"{constant}_{key.removeprefix(f'{split}_')}" not in figures
        ]
    if figures[f"{split}_unparsed"]:
        lines.append(f"unparsed         {figures[f'{split}_unparsed']} answers, counted as wrong")
    return lines


def code_lines(figures: dict[str, Any], split: str) -> list[str]:
    """How a split uses the codes; nothing where none are in use. `figures` and `split` as of `score_lines`."""
    if not figures[f"{split}_code_perplexity"]:
        return []
    used = f"({figures[f'{split}_codes_used']:.0%} of the codes used)"
    lines = [f"code perplexity  {figures[f'{split}_code_perplexity']:.1f}   {used}"]
    for about in ("label", "group"):
        bits, shuffled = figures[f"{split}_{about}_bits"], figures[f"{split}_{about}_bits_shuffled"]
        if not shuffled:
            continue  # all examples are of one group
        lines.append(f"bits on {about}    {bits:.4f} per prompt token   ({shuffled:.4f} with {about}s shuffled)")
    return lines


def _scores(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())


def table(results: dict[str, Any]) -> str:
    """The results in Markdown, for the model card."""
    rows = [f"| {name} | {value:.6g} |" for name, value in results.items() if type(value) in (int, float)]
    return "\n".join(["| | |", "|---|---|", *rows])
