"""The commands: `vip-train train` (also `run.py`) and `vip-train pretrain`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from vip_train.config import TrainConfig, parse
from vip_train.errors import UserError
from vip_train.pretrain.loop import PretrainConfig, pretrain
from vip_train.training import train

_USAGE = """usage: vip-train {train,pretrain} [flags]

  train     train a VIP adapter for a frozen T5 (the same as run.py)
  pretrain  make a small T5 backbone from a text corpus

vip-train COMMAND --help lists the flags of a command.
"""


def train_command(arguments: Sequence[str]) -> None:
    """Trains an adapter. The `deepspeed` launcher is known by the --local_rank it adds."""
    own = [argument for argument in arguments if not argument.startswith("--local_rank")]
    launched = len(own) < len(arguments)
    config = parse(TrainConfig, own, prog="vip-train train", description="Trains a VIP adapter for a frozen T5.")
    folder = train(config, launched_by_deepspeed=launched)
    if (folder / "results.json").is_file() and _speaks():
        print(_summary(folder, launched))


def _speaks() -> bool:
    import os

    return os.environ.get("RANK", "0") == "0"


def _summary(folder: Path, launched: bool) -> str:
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    lines = [
        "",
        f"accuracy         {results['validation_accuracy']:.3f}   (a constant answer: {results['majority_accuracy']:.3f})",
        f"training loss    {results['train_nll']:.3f}   (a constant answer: {results['label_entropy']:.3f})",
    ]
    if results["validation_code_perplexity"]:
        used = f"({results['validation_codes_used']:.0%} of the codes used)"
        lines.append(f"code perplexity  {results['validation_code_perplexity']:.1f}   {used}")
        for about in ("label", "group"):
            bits, shuffled = results[f"validation_{about}_bits"], results[f"validation_{about}_bits_shuffled"]
            lines.append(f"bits on {about}    {bits:.4f} per prompt token   ({shuffled:.4f} with {about}s shuffled)")
    lines.append(f"adapter          {folder / 'adapter'}")
    if not launched:
        lines.append(
            f"on several processes: deepspeed packages/vip-train/run.py --config {folder / 'config.yaml'} --output NEW_FOLDER"
        )
    return "\n".join(lines)


def pretrain_command(arguments: Sequence[str]) -> None:
    """Makes a backbone."""
    config = parse(
        PretrainConfig, arguments, prog="vip-train pretrain", description="Makes a small T5 backbone from a text corpus."
    )
    print(f"backbone {pretrain(config)}")


_COMMANDS = {"train": train_command, "pretrain": pretrain_command}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status: 0, or 2 after one line on stderr saying what is wrong."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(_USAGE, end="")
        return 0 if given else 2
    if given[0] not in _COMMANDS:
        print(f"vip-train: {given[0]} is no command, there are {', '.join(_COMMANDS)}", file=sys.stderr)
        return 2
    try:
        _COMMANDS[given[0]](given[1:])
    except UserError as error:
        print(f"vip-train: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
