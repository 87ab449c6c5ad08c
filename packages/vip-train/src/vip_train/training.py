"""The one training recipe: a frozen backbone, a prompt, a task, an engine."""

import hashlib
import math
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm
from vip_core import perplexity, usage

from vip_train import report
from vip_train.accumulation import take
from vip_train.backbones import fingerprint
from vip_train.checkpoint import FORMAT_VERSION, Checkpoint, RunState, fits, parse
from vip_train.config import TrainConfig
from vip_train.data import Batch, check_distinct, digest
from vip_train.engine import Engine, build_engine, check_engine, uses_deepspeed
from vip_train.environment import describe
from vip_train.errors import Stopped, UserError
from vip_train.evaluation import evaluate
from vip_train.final_test import FinalTest
from vip_train.loader import Loader
from vip_train.mixing import Mixing
from vip_train.model import VIPModel
from vip_train.order import Shuffled
from vip_train.outcome import write_outcome
from vip_train.runs import RunFolder, next_output, settings
from vip_train.scoring import Scoring
from vip_train.sharding import whole
from vip_train.signals import StopRequest
from vip_train.start import starting_backbone, starting_prompt
from vip_train.stopping import Best
from vip_train.tasks import Example, Task
from vip_train.tasks.own import OwnTask
from vip_train.tokenised import TokenisedSplit
from vip_train.trackers import Trackers, check_trackers
from vip_train.world import World, join_world, leave_world, lost_another


def train(config: TrainConfig, *, launched_by_deepspeed: bool = False, command: Sequence[str] = ()) -> Path:
    """Trains one adapter and returns the folder of the run.

    The folder holds `adapter/`, `config.yaml` (resolved, reusable), `environment.json`, `metrics.jsonl` and `results.json`, and
    `adapter-last/` where `adapter/` is the best; in full fine-tuning `model/` in place of `adapter/`. It appears when the first
    step is due; an error before leaves nothing behind. Until the run is complete it holds `checkpoints/` too, and the same
    settings with the same `output` continue from the newest good one.

    Args:
        config: the run.
        launched_by_deepspeed: whether the `deepspeed` command started this process.
        command: the flags it was started with, for environment.json.

    Raises:
        UserError: anything in the data, settings or folders is wrong, or the loss stops being finite.
        Stopped: SIGTERM or SIGINT asked for it; a checkpoint was written.
    """
    check_trackers(config.tracking)
    deepspeed = uses_deepspeed(config.engine, launched_by_deepspeed=launched_by_deepspeed)
    task = config.get_task()
    examples, validation = config.load(task, "train"), config.load(task, "validation")
    test = FinalTest(config) if config.test_task else None
    output = config.output or next_output(config.run_name)
    world = join_world(deepspeed=deepspeed)
    folder = RunFolder(output, config)
    try:
        if config.optimizer.batch_size % world.size:
            raise UserError(
                f"optimizer.batch_size={config.optimizer.batch_size} must be divisible by the {world.size} processes"
            )
        if config.full_fine_tuning and deepspeed:
            raise UserError("full_fine_tuning: needs engine.name=torch; DeepSpeed here trains prompts of a frozen backbone")
        if test and deepspeed and config.engine.zero_stage == 3:
            raise UserError(f"test_task={config.test_task}: not at engine.zero_stage=3; use vip-train evaluate --split test")
        check_engine(config.optimizer, config.engine, deepspeed=deepspeed)
        world.first_does(lambda: folder.look())
        packages = [*config.tracking.packages, *(["deepspeed"] if deepspeed else [])]
        environment = describe(world, command, packages=packages) if world.first else {}
        _Run(config, world, deepspeed, examples, validation, task, test, folder).complete(environment)
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
        examples: Sequence[Example],
        validation: Sequence[Example],
        task: Task,
        test: FinalTest | None,
        folder: RunFolder,
    ) -> None:
        self.config, self.world, self.deepspeed, self.folder, self.test = config, world, deepspeed, folder, test
        self.answers, self.scoring = tuple(dict.fromkeys(task.answers.values())), Scoring.of(task)
        self.skipped = task.skipped if isinstance(task, OwnTask) and config.skip_bad_rows else None
        self.step = 0
        self.recent = _Recent()
        self.now: dict[str, float] = {}
        self.record: dict[str, Any] = {}
        self.best: Best | None = None
        self.trackers = Trackers(config.tracking)
        self.backbone = starting_backbone(config, world, deepspeed=deepspeed)
        self.backbone_fingerprint = fingerprint(self.backbone.model)
        for part in task.parts.values():
            check_distinct(tuple(dict.fromkeys(part.answers.values())), self.backbone.tokenizer)
        if test:
            test.check(self.backbone.tokenizer)
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
        prompt = starting_prompt(config, self.backbone, world)
        check = fits(config, self.backbone_fingerprint, self.data_digest, prompt.state_dict())
        parts = world.from_first(lambda: folder.resume(check, tqdm.write))
        found = parse(parts) if parts else None
        if found is not None:
            prompt.load_state_dict(found.prompt)
        self.model = VIPModel(self.backbone.model, prompt).train()
        prompt.requires_grad_()
        self.engine: Engine = build_engine(self.model, config.optimizer, config.engine, world, deepspeed=deepspeed)
        self.started = time.monotonic()
        if found is not None:
            self._restore(found)

    def _restore(self, found: Checkpoint) -> None:
        self.step = found.state.step
        self.recent = _Recent(*found.state.recent)
        self.best = None if found.state.best is None else Best(found.state.best, found.best)
        self.started -= found.state.seconds
        self.engine.load_optimizer_state(found.optimizer)

    def complete(self, environment: dict[str, Any]) -> None:
        """Trains to the last step, or until patience runs out, and writes what was learned."""
        config, world = self.config, self.world
        world.first_does(lambda: self.folder.begin(self.step, environment))
        constant = self.scoring.baseline(self.training.examples, self.validation.examples)
        if world.first:
            report.announce(config, self.model, world, self.deepspeed, self.training, self.validation, constant)
            tqdm.write(report.data(self.training, self.scoring, self.skipped))
            if self.step:
                tqdm.write(f"continues after step {self.step}")
        total = config.optimizer.steps
        steps = range(self.step + 1, total + 1)
        with (
            closing(self.trackers),
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
            world.first_does(lambda: self.trackers.open(self.folder.path, settings(config), self.step))
            for step in bar:
                stopping = self._train(step, loader.batch(step), stop, bar)
                last = step == total
                if evaluated := step % config.optimizer.evaluate_every == 0 or last:
                    last = self._evaluate(bar) or last
                self._track(evaluated)
                if not last and (stopping or step % config.checkpoint.every == 0):
                    self._save()
                if not last and stopping:
                    raise Stopped(
                        f"stopped by {stop.name or 'a signal to another process'} after step {step}; "
                        f"the same command with --output {self.folder.path} continues"
                    )
                if last:
                    break
        facts = {"trained_parameters": report.trained(self.model)}
        facts |= {"skipped_rows": self.skipped.rows} if self.skipped else {}
        if self.test:
            facts |= self._score_test(self.test)
        self._finish({**constant.record(), **facts, "data": self.data_digest, "backbone": self.backbone_fingerprint})

    def _train(self, step: int, batch: Batch, stop: StopRequest, bar: Any) -> bool:
        """One step; returns whether any process was asked to stop, the same answer in all."""
        torch.manual_seed(_step_seed(self.config.optimizer.seed, step, self.world.rank))
        taken = take(self.engine, batch, self.world.device, micro_batch_size=self.config.engine.micro_batch_size)
        mine = torch.stack([taken.nll_B.mean(), taken.commitment]).tolist()
        nll, commit, stops = self.world.sum(*mine, float(stop.asked))
        if not math.isfinite(nll + commit):
            self._refuse_batch(step, taken.nll_B)
        rates = self.engine.set_learning_rates(self.config.optimizer.learning_rates(step))
        self.engine.step(taken.loss)
        self.step = step
        size = self.world.size
        self.now = {"step_nll": nll / size, "step_commitment": commit / size}
        self.now |= {f"learning_rate_{name}": rate for name, rate in rates.items()}
        self.recent = _Recent(self.recent.nll + nll / size, self.recent.commitment + commit / size, self.recent.steps + 1)
        if step % 20 == 0:
            codes = perplexity(usage(taken.weight_BPK))
            shown = ", ".join(f"{rate:.2g}" for rate in rates.values())
            bar.set_postfix(loss=f"{nll / size:.3f}", lr=shown, codes=f"{codes:.0f}", refresh=False)
        return stops > 0

    def _refuse_batch(self, step: int, mine_B: Tensor) -> None:
        """Sets a batch whose loss is not finite aside and ends the run; its step is not taken."""
        nll_B = torch.zeros(self.config.optimizer.batch_size, device=self.world.device)
        nll_B[self.world.rank :: self.world.size] = mine_B.float()
        nll = self.world.sum_(nll_B).tolist()
        taken = [self.training.examples[row] for row in self.batches.rows(step)]
        rows = report.batch(self.batches.rows(step), taken, nll, self.backbone.tokenizer)

        def refuse() -> None:
            content = {"step": step, "learned_from_steps": step - 1, "batch": rows}
            path = self.folder.set_aside(f"not-finite-step-{step:08d}.json", content)
            raise UserError(f"the loss is not finite at step {step}: lower the learning rates; its batch is in {path}")

        self.world.first_does(refuse)

    def _evaluate(self, bar: Any) -> bool:
        """Measures the prompt and keeps it if it is the best; returns whether the run is over before its last step."""
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
            **{name: value for name, value in self.now.items() if name.startswith("learning_rate_")},
            **{f"validation_{name}": value for name, value in found.record().items()},
        }
        if self.world.first:
            bar.write(report.line(self.record, found))
        self.world.first_does(lambda: self.folder.record(self.record))
        stopping, vip = self.config.optimizer.stopping, self.model.prompt.config
        # Before codes come into use the prompt is another kind of prompt.
        if not stopping.keeps_best or (vip.quantizes and self.step < vip.quantizer.warmup_steps):
            return False
        better = self.world.first and stopping.is_better(self.record, self.best, self.scoring.first)
        if self.world.sum(float(better))[0]:  # one process decides, lest a last bit divides them
            self.best = Best(self.record, self._prompt_state())
        return stopping.is_over(self.step, self.best)

    def _track(self, evaluated: bool) -> None:
        tracking, record = self.config.tracking, self.record if evaluated else None
        if tracking.packages and (evaluated or self.step % tracking.every == 0):
            self.world.first_does(lambda: self.trackers.log(self.step, self.now, record))

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
            best=self.best and self.best.record,
        )
        best = self.best.prompt if self.best else {}
        checkpoint = Checkpoint(self._prompt_state(), self.engine.optimizer_state(), best, state)
        self.world.first_does(lambda: self.folder.save(checkpoint))

    def _score_test(self, test: FinalTest) -> dict[str, Any]:
        if not self.best:
            return test.record(self.model, self.backbone.tokenizer, self.world)
        last = self._prompt_state()
        self.model.prompt.load_state_dict(self.best.prompt)
        found = test.record(self.model, self.backbone.tokenizer, self.world)
        self.model.prompt.load_state_dict(last)
        return found

    def _finish(self, facts: dict[str, Any]) -> None:
        def write() -> None:
            write_outcome(
                self.model,
                self.folder,
                self.config,
                tokenizer=self.backbone.tokenizer,
                answers=self.answers,
                backbone_fingerprint=self.backbone_fingerprint,
                last=self.record,
                best=self.best,
                facts=facts,
            )

        with whole(self.model.prompt.parameters()):
            self.world.first_does(write)


def _step_seed(seed: int, step: int, rank: int) -> int:
    """What the draws of a step are seeded with. Ranks draw different codes; what must agree is shared by vip_core."""
    return int.from_bytes(hashlib.sha256(f"{seed} {step} {rank}".encode()).digest()[:8], "little") >> 1
