"""The one training recipe: a frozen backbone, a prompt, a task, an engine."""

import hashlib
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm
from vip_core import VIPPrompt, perplexity, usage

from vip_train import report
from vip_train.backbones import Backbone, backbone_dtype, fingerprint, load_backbone
from vip_train.checkpoint import FORMAT_VERSION, Checkpoint, RunState, parse
from vip_train.config import TrainConfig
from vip_train.data import Batch, digest
from vip_train.engine import Engine, build_engine, check_engine, uses_deepspeed
from vip_train.errors import Stopped, UserError
from vip_train.evaluation import evaluate
from vip_train.loader import Loader
from vip_train.mixing import Mixing
from vip_train.model import VIPModel, VIPOutput
from vip_train.order import Shuffled
from vip_train.runs import RunFolder, settings
from vip_train.scoring import Scoring
from vip_train.sharding import whole
from vip_train.signals import StopRequest
from vip_train.tasks import Example, Task, get_task
from vip_train.tokenised import TokenisedSplit
from vip_train.world import World, join_world, leave_world, lost_another


def next_output(task: str, root: Path = Path("runs")) -> Path:
    """The first of runs/<task>-1, -2, ... that is not there."""
    number = 1
    while (root / f"{task.replace('/', '-')}-{number}").exists():
        number += 1
    return root / f"{task.replace('/', '-')}-{number}"


def train(config: TrainConfig, *, launched_by_deepspeed: bool = False) -> Path:
    """Trains one adapter and returns the folder of the run.

    The folder holds `adapter/`, `config.yaml` (resolved, reusable), `metrics.jsonl` and `results.json`. It appears when the
    first step is due; an error before leaves nothing behind. Until the run is complete it holds `checkpoints/` too, and the
    same settings with the same `output` continue from the newest good one.

    Args:
        config: the run.
        launched_by_deepspeed: whether the `deepspeed` command started this process.

    Raises:
        UserError: anything in the data, settings or folders is wrong, or the loss stops being finite.
        Stopped: SIGTERM or SIGINT asked for it; a checkpoint was written.
    """
    deepspeed = uses_deepspeed(config.engine, launched_by_deepspeed=launched_by_deepspeed)
    task = get_task(config.task)
    examples = task.load("train", config.data_dir)
    validation = task.load("validation", config.data_dir)
    output = config.output or next_output(config.task)
    world = join_world(deepspeed=deepspeed)
    folder = RunFolder(output, config)
    try:
        if config.optimizer.batch_size % world.size:
            raise UserError(
                f"optimizer.batch_size={config.optimizer.batch_size} must be divisible by the {world.size} processes"
            )
        check_engine(config.optimizer, config.engine, deepspeed=deepspeed)
        world.first_does(lambda: folder.look())
        _Run(config, world, deepspeed, examples, validation, task, folder).complete()
    except RuntimeError as error:
        if not lost_another(error):
            raise
        raise UserError(
            f"process {world.rank} lost another process; why that one ended is said above or by the launcher. "
            f"The same command with --output {output} continues from the newest checkpoint"
        ) from error
    finally:
        folder.close()
        leave_world()
    return output


class _Recent(NamedTuple):
    """Sums over all steps since the last evaluation, the same in every process."""

    nll: float = 0.0
    commitment: float = 0.0
    steps: int = 0


class _Run:
    """A run in one process: what is loaded, and how far it is."""

    def __init__(
        self,
        config: TrainConfig,
        world: World,
        deepspeed: bool,
        examples: list[Example],
        validation: list[Example],
        task: Task,
        folder: RunFolder,
    ) -> None:
        self.config, self.world, self.deepspeed, self.folder = config, world, deepspeed, folder
        self.answers, self.scoring = tuple(dict.fromkeys(task.answers.values())), Scoring.of(task)
        self.step = 0
        self.recent = _Recent()
        self.record: dict[str, Any] = {}
        self.backbone = self._load_backbone()
        self.backbone_fingerprint = fingerprint(self.backbone.model)
        self.data_digest = digest(examples, validation)
        self.training, self.validation = (
            TokenisedSplit(part, self.backbone.tokenizer, config.max_source_length) for part in (examples, validation)
        )
        self.batches = Shuffled(
            self.training,
            batch_size=config.optimizer.batch_size,
            rank=world.rank,
            world_size=world.size,
            seed=config.optimizer.seed,
            window=config.optimizer.length_window,
            mixing=Mixing(examples, task.weights, config.optimizer.seed) if len(task.parts) > 1 else None,
        )
        embedding_VD = self.backbone.model.get_input_embeddings().weight
        torch.manual_seed(config.optimizer.seed)
        with whole([embedding_VD]):
            prompt = VIPPrompt(config.vip, embedding_VD.cpu()).to(world.device)
        parts = world.from_first(lambda: folder.resume(self._check_fit(prompt), tqdm.write))
        found = parse(parts) if parts else None
        if found is not None:
            prompt.load_state_dict(found.prompt)
        self.model = VIPModel(self.backbone.model, prompt).train()
        self.engine: Engine = build_engine(self.model, config.optimizer, config.engine, world, deepspeed=deepspeed)
        self.started = time.monotonic()
        if found is not None:
            self._restore(found)

    def _load_backbone(self) -> Backbone:
        config, device = self.config, self.world.device
        sharded = None
        if self.deepspeed and config.engine.zero_stage == 3:
            from vip_train.zero import loading_config

            sharded = loading_config(config.optimizer, config.engine, self.world, backbone_dtype(config.precision, device))
        return load_backbone(config.backbone, precision=config.precision, device=device, sharded=sharded)

    def _check_fit(self, prompt: VIPPrompt) -> Any:
        """Refuses a checkpoint for another backbone or other data, or of other tensors than this run has."""
        shapes = {name: tensor.shape for name, tensor in prompt.state_dict().items()}

        def check(found: Checkpoint) -> None:
            if found.state.backbone_fingerprint != self.backbone_fingerprint:
                raise UserError(
                    f"backbone={self.config.backbone}: its weights are not those the run began with "
                    f"({found.state.backbone_fingerprint[:19]}, now {self.backbone_fingerprint[:19]})"
                )
            if found.state.data_digest != self.data_digest:
                raise UserError(f"data_dir={self.config.data_dir}: the examples are not those the run began with")
            if {name: tensor.shape for name, tensor in found.prompt.items()} != shapes:
                raise UserError("its tensors are not those of this prompt")

        return check

    def _restore(self, found: Checkpoint) -> None:
        self.step = found.state.step
        self.recent = _Recent(*found.state.recent)
        self.started -= found.state.seconds
        self.engine.load_optimizer_state(found.optimizer)

    def complete(self) -> None:
        """Trains to the last step and writes the adapter."""
        config, world = self.config, self.world
        world.first_does(lambda: self.folder.begin(self.step))
        constant = self.scoring.baseline(self.training.examples, self.validation.examples)
        if world.first:
            report.announce(config, self.model, world, self.deepspeed, self.training, self.validation, constant)
            if self.step:
                tqdm.write(f"continues after step {self.step}")
        total = config.optimizer.steps
        steps = range(self.step + 1, total + 1)
        with (
            StopRequest() as stop,
            Loader(self.batches.batch, last=total, device=world.device) as loader,
            tqdm(
                steps,
                desc="train",
                unit="step",
                mininterval=1.0,
                disable=not world.first,
                initial=self.step,
                total=steps.stop - 1,
            ) as bar,
        ):
            for step in bar:
                stopping = self._train(step, loader.batch(step), stop, bar)
                last = step == total
                if step % config.optimizer.evaluate_every == 0 or last:
                    self._evaluate(bar)
                if not last and (stopping or step % config.checkpoint.every == 0):
                    self._save()
                if not last and stopping:
                    raise Stopped(
                        f"stopped by {stop.name or 'a signal to another process'} after step {step}; "
                        f"the same command with --output {self.folder.path} continues"
                    )
        self._finish({**self.record, **constant.record()})

    def _train(self, step: int, batch: Batch, stop: StopRequest, bar: Any) -> bool:
        """One step; returns whether any process was asked to stop, the same answer in all."""
        torch.manual_seed(_step_seed(self.config.optimizer.seed, step, self.world.rank))
        output = self.engine.forward(*batch.to(self.world.device))
        commitment = output.prompted.commitment.detach()
        mine = torch.stack([output.nll_B.detach().mean(), commitment]).tolist()
        nll, commit, stops = self.world.sum(*mine, float(stop.asked))
        if not math.isfinite(nll + commit):
            self._refuse_batch(step, output)
        self.engine.step(output.loss)
        self.step = step
        size = self.world.size
        self.recent = _Recent(self.recent.nll + nll / size, self.recent.commitment + commit / size, self.recent.steps + 1)
        if step % 20 == 0:
            codes = perplexity(usage(output.prompted.weight_BPK))
            bar.set_postfix(loss=f"{nll / size:.3f}", codes=f"{codes:.0f}", refresh=False)
        return stops > 0

    def _refuse_batch(self, step: int, output: VIPOutput) -> None:
        """Sets a batch whose loss is not finite aside and ends the run; its step is not taken."""
        nll_B = torch.zeros(self.config.optimizer.batch_size, device=self.world.device)
        nll_B[self.world.rank :: self.world.size] = output.nll_B.detach().float()
        nll = self.world.sum_(nll_B).tolist()
        tokenizer = self.backbone.tokenizer
        rows = [
            {
                "example": row,
                "source": self.training.examples[row].source,
                "target": self.training.examples[row].target,
                "source_ids": tokenizer(self.training.examples[row].source)["input_ids"],
                "target_ids": tokenizer(self.training.examples[row].target)["input_ids"],
                "nll": value if math.isfinite(value) else str(value),
            }
            for row, value in zip(self.batches.rows(step), nll, strict=True)
        ]

        def refuse() -> None:
            content = {"step": step, "learned_from_steps": step - 1, "batch": rows}
            path = self.folder.set_aside(f"not-finite-step-{step:08d}.json", content)
            raise UserError(f"the loss is not finite at step {step}: lower the learning rates; its batch is in {path}")

        self.world.first_does(refuse)

    def _evaluate(self, bar: Any) -> None:
        nll, commitment, steps = self.recent
        self.recent = _Recent()
        found = evaluate(self.model, self.validation, self.scoring, self.backbone.tokenizer, self.world)
        if not math.isfinite(found.nll):
            raise UserError(f"the validation loss is not finite after step {self.step}: lower the learning rates")
        self.record = {
            "step": self.step,
            "seconds": round(self._seconds(), 1),
            "train_nll": nll / steps,
            "commitment": commitment / steps,
            **{f"validation_{name}": value for name, value in found.record().items()},
        }
        if self.world.first:
            bar.write(report.line(self.record, found))
        self.world.first_does(lambda: self.folder.record(self.record))

    def _seconds(self) -> float:
        return time.monotonic() - self.started

    def _prompt_state(self) -> dict[str, Tensor]:
        """Copies of the prompt's whole state; every process has to ask."""
        with whole(self.model.prompt.parameters()):
            return {name: value.detach().cpu().clone() for name, value in self.model.prompt.state_dict().items()}

    def _save(self) -> None:
        state = RunState(
            format_version=FORMAT_VERSION,
            step=self.step,
            examples=self.step * self.config.optimizer.batch_size,
            seconds=self._seconds(),
            recent=self.recent,
            config=settings(self.config),
            backbone_fingerprint=self.backbone_fingerprint,
            data_digest=self.data_digest,
            processes=self.world.size,
        )
        checkpoint = Checkpoint(self._prompt_state(), self.engine.optimizer_state(), state)
        self.world.first_does(lambda: self.folder.save(checkpoint))

    def _finish(self, results: dict[str, Any]) -> None:
        def write() -> None:
            self.model.save_pretrained(
                self.folder.path / "adapter",
                backbone=self.config.backbone,
                task=self.config.task,
                answers=self.answers,
                max_source_length=self.config.max_source_length,
                results=report.table(results),
                backbone_fingerprint=self.backbone_fingerprint,
            )
            self.folder.finish(results)

        with whole(self.model.prompt.parameters()):
            self.world.first_does(write)


def _step_seed(seed: int, step: int, rank: int) -> int:
    """What the draws of a step are seeded with. Ranks draw different codes; what must agree is shared by vip_core."""
    return int.from_bytes(hashlib.sha256(f"{seed} {step} {rank}".encode()).digest()[:8], "little") >> 1
