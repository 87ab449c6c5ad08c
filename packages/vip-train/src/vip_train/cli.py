"""The commands: `vip-train train` (also `run.py`), `pretrain`, `import`, `export` and `push`."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vip_train.adapter import load_adapter, push_adapter
from vip_train.backbones import BUNDLED
from vip_train.config import TrainConfig, parse
from vip_train.errors import Stopped, ToldElsewhere, UserError
from vip_train.exchange import export_to_peft, import_soft_prompt
from vip_train.pretrain.loop import PretrainConfig, pretrain
from vip_train.tasks import get_task
from vip_train.training import train

STOPPED = 75
"""Exit status of a run that a signal stopped after a checkpoint: EX_TEMPFAIL of sysexits.h, "try again later"."""

_USAGE = """usage: vip-train {train,pretrain,import,export,push} [flags]

  train     train a VIP adapter for a frozen T5 (the same as run.py)
  pretrain  make a small T5 backbone from a text corpus
  import    make an adapter from a soft prompt of PEFT's or google-research's
  export    make a folder of PEFT's from an adapter of method pt
  push      upload an adapter to the Hugging Face hub

vip-train COMMAND --help lists the flags of a command.
"""


def train_command(arguments: Sequence[str]) -> None:
    """Trains an adapter. The `deepspeed` launcher is known by the --local_rank it adds."""
    own = [argument for argument in arguments if not argument.startswith("--local_rank")]
    launched = len(own) < len(arguments)
    config = parse(TrainConfig, own, prog="vip-train train", description="Trains a VIP adapter for a frozen T5.")
    folder = train(config, launched_by_deepspeed=launched, command=own)
    if (folder / "results.json").is_file() and _speaks():
        print(_summary(folder, launched))


def _speaks() -> bool:
    import os

    return os.environ.get("RANK", "0") == "0"


def _summary(folder: Path, launched: bool) -> str:
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    lines = [""]
    names = [key.removeprefix("majority_") for key in results if key.startswith("majority_")]
    width = max(16, *map(len, names))
    for name in names:
        score, constant = results[f"validation_{name}"], results[f"majority_{name}"]
        below = ", which is better" if score < constant else ""
        lines.append(f"{name:<{width}} {score:.3f}   (a constant answer: {constant:.3f}{below})")
        lines += [
            f"  {key.removeprefix(f'validation_{name}/'):<30} {value:.3f}"
            for key, value in results.items()
            if key.startswith(f"validation_{name}/") and f"majority_{key.removeprefix('validation_')}" not in results
        ]
    if results["validation_unparsed"]:
        lines.append(f"unparsed         {results['validation_unparsed']} answers, counted as wrong")
    lines += [
        f"training loss    {results['train_nll']:.3f}   (a constant answer: {results['label_entropy']:.3f})",
    ]
    if results["validation_code_perplexity"]:
        used = f"({results['validation_codes_used']:.0%} of the codes used)"
        lines.append(f"code perplexity  {results['validation_code_perplexity']:.1f}   {used}")
        for about in ("label", "group"):
            bits, shuffled = results[f"validation_{about}_bits"], results[f"validation_{about}_bits_shuffled"]
            if not shuffled:
                continue  # all examples are of one group
            lines.append(f"bits on {about}    {bits:.4f} per prompt token   ({shuffled:.4f} with {about}s shuffled)")
    lines.append(f"adapter          {folder / 'adapter'}")
    if (folder / "adapter-last").is_dir():
        when = f"the best, of step {results['step']}; that of the last step, {results['last_step']}, is in adapter-last"
        lines.append(f"                 {when}" + (" (stopped early)" if results["stopped_early"] else ""))
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


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """One soft prompt to be read."""

    prompt: str
    """A PEFT folder of prompt tuning, the hub id of one, or a .npy file of google-research."""
    output: Path
    """Folder to create, an adapter."""
    backbone: str = BUNDLED
    """The T5 it was trained for: `bundled`, a folder, or a hub id. The files do not say; a wrong one gives wrong answers."""
    task: str = ""
    """The task it answers, for its fixed answers; by default its answers are free text."""
    max_source_length: int = 480
    """Source tokens to keep."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """One adapter to be written for PEFT."""

    adapter: str
    """An adapter of method pt: a folder, or a hub id."""
    output: Path
    """Folder to create."""
    backbone: str | None = None
    """Where its backbone is; by default the name it was trained by."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""


@dataclass(frozen=True, kw_only=True)
class PushConfig:
    """One adapter to be uploaded. The right to write comes from the machine's login, or HF_TOKEN."""

    adapter: Path
    """Its folder."""
    repository: str
    """user/name on the hub; made if there is none."""
    private: bool | None = None
    """Whether a repository made here is private; by default as the account has it."""
    revision: str | None = None
    """Branch to commit to, made if there is none; by default the main one."""
    message: str = "Upload VIP adapter"
    """First line of the commit."""


def import_command(arguments: Sequence[str]) -> None:
    """Makes an adapter from a soft prompt."""
    config = parse(ImportConfig, arguments, prog="vip-train import", description="Makes an adapter from a soft prompt.")
    if config.output.exists() and (not config.output.is_dir() or any(config.output.iterdir())):
        raise UserError(f"{config.output}: is there already; choose another folder")
    answers = tuple(dict.fromkeys(get_task(config.task).answers.values())) if config.task else ()
    adapter = import_soft_prompt(
        config.prompt,
        config.backbone,
        task=config.task,
        answers=answers,
        max_source_length=config.max_source_length,
        revision=config.revision,
    )
    adapter.save_pretrained(config.output)
    print(f"adapter {config.output}")


def export_command(arguments: Sequence[str]) -> None:
    """Makes a PEFT folder from an adapter."""
    config = parse(ExportConfig, arguments, prog="vip-train export", description="Writes an adapter of method pt for PEFT.")
    adapter = load_adapter(config.adapter, backbone=config.backbone, revision=config.revision)
    export_to_peft(adapter, config.output)
    print(f"PEFT folder {config.output}")


def push_command(arguments: Sequence[str]) -> None:
    """Uploads an adapter."""
    config = parse(PushConfig, arguments, prog="vip-train push", description="Uploads an adapter to the Hugging Face hub.")
    address = push_adapter(
        config.adapter,
        config.repository,
        private=config.private,
        revision=config.revision,
        commit_message=config.message,
    )
    print(f"commit {address}")


_COMMANDS = {
    "train": train_command,
    "pretrain": pretrain_command,
    "import": import_command,
    "export": export_command,
    "push": push_command,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status.

    0: done. 2: one line on stderr says what is wrong. 75: a signal stopped the run, and the same command continues it.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(_USAGE, end="")
        return 0 if given else 2
    if given[0] not in _COMMANDS:
        print(f"vip-train: {given[0]} is no command, there are {', '.join(_COMMANDS)}", file=sys.stderr)
        return 2
    try:
        _COMMANDS[given[0]](given[1:])
    except ToldElsewhere:
        return 2
    except UserError as error:
        print(f"vip-train: {error}", file=sys.stderr)
        return 2
    except Stopped as error:
        if _speaks():
            print(f"vip-train: {error}", file=sys.stderr)
        return STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
