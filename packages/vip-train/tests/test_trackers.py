"""TensorBoard and Weights & Biases: names as in metrics.jsonl, one log over kills, no network, and no effect on the run."""

import importlib.util
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
from vip_train.config import CheckpointConfig, TrainConfig
from vip_train.data import Batch
from vip_train.errors import UserError
from vip_train.loader import Loader
from vip_train.schedule import ScheduleConfig
from vip_train.stopping import StoppingConfig
from vip_train.trackers import Trackers, TrackingConfig, check_trackers
from vip_train.training import train

RUN = Path(__file__).parent.parent / "run.py"
BOTH = TrackingConfig(tensorboard=True, wandb=True, every=2)
TENSORBOARD = TrackingConfig(tensorboard=True, every=2)
Settings = Callable[..., TrainConfig]
Execute = Callable[..., CompletedProcess[str]]


class Broken(BaseException):
    """Stands for kill -9: nothing of ours catches it."""


@pytest.fixture
def dies_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Has the run die as a step begins."""
    real = Loader.batch

    def choose(step: int | None) -> None:
        def batch(self: Loader, now: int) -> Batch:
            if now == step:
                raise Broken
            return real(self, now)

        monkeypatch.setattr(Loader, "batch", batch)

    return choose


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows: steps and values by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def weights(run: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(run.glob("adapter*/adapter_model.safetensors"))]


def test_tensorboard_has_every_evaluation_and_every_other_step(settings: Settings, tmp_path: Path) -> None:
    schedule = ScheduleConfig(name="linear", warmup_steps=2)
    run = train(settings(output=tmp_path / "run", steps=6, evaluate_every=3, tracking=TENSORBOARD, schedule=schedule))
    found = scalars(run)
    lines = metrics(run)
    single = {name for name, value in lines[0].items() if isinstance(value, int | float) and name != "step"}
    assert single - {"learning_rate_prompt", "learning_rate_contextualizer"} == found.keys() - {
        *("step_nll", "step_commitment", "learning_rate_prompt", "learning_rate_contextualizer")
    }
    for name in single:
        logged = dict(found[name])
        for line in lines:
            assert logged[line["step"]] == pytest.approx(line[name]), name
    assert [step for step, _ in found["validation_accuracy"]] == [3, 6]
    assert [step for step, _ in found["step_nll"]] == [2, 4, 6]
    assert found["learning_rate_prompt"] == [
        (2, pytest.approx(0.03)),
        (3, pytest.approx(0.0225)),
        (4, pytest.approx(0.015)),
        (6, 0.0),
    ]


def test_a_run_that_continues_goes_on_in_the_same_log_without_a_step_twice(
    settings: Settings, dies_at: Callable[[int | None], None], tmp_path: Path
) -> None:
    def config(name: str) -> TrainConfig:
        checkpoint = CheckpointConfig(every=3)
        return settings(output=tmp_path / name, steps=8, evaluate_every=2, tracking=TENSORBOARD, checkpoint=checkpoint)

    whole = scalars(train(config("whole")))
    dies_at(6)
    with pytest.raises(Broken):
        train(config("run"))
    assert [step for step, _ in scalars(tmp_path / "run")["step_nll"]] == [2, 4], "a crash loses nothing"
    dies_at(None)
    again = scalars(train(config("run")))
    del whole["seconds"], again["seconds"]
    assert again == whole


def test_a_run_killed_before_its_first_checkpoint_begins_its_log_anew(
    settings: Settings, dies_at: Callable[[int | None], None], tmp_path: Path
) -> None:
    config = settings(output=tmp_path / "run", tracking=TENSORBOARD)
    dies_at(4)
    with pytest.raises(Broken):
        train(config)
    dies_at(None)
    assert [step for step, _ in scalars(train(config))["step_nll"]] == [2, 4]


def test_wandb_offline_keeps_one_id_over_all_parts_of_a_run(
    settings: Settings, dies_at: Callable[[int | None], None], tmp_path: Path
) -> None:
    import wandb

    config = settings(
        output=tmp_path / "run", steps=4, tracking=TrackingConfig(wandb=True, every=1), checkpoint=CheckpointConfig(every=1)
    )
    dies_at(3)
    with pytest.raises(Broken):
        train(config)
    assert wandb.run is None, "a crash closes it"
    dies_at(None)
    train(config)
    assert wandb.run is None
    folder = tmp_path / "run" / "wandb"
    identity = (folder / "run-id.txt").read_text(encoding="utf-8")
    logs = list(folder.glob(f"offline-run-*-{identity}/run-{identity}.wandb"))
    assert logs
    assert all(path.stat().st_size for path in logs)
    content = b"".join(path.read_bytes() for path in logs)
    for name in (b"validation_accuracy", b"step_nll", b"learning_rate_prompt"):
        assert name in content


def test_neither_changes_what_is_learned_nor_do_equal_runs_differ(settings: Settings, tmp_path: Path) -> None:
    """With everything on at once, twice, and once without trackers."""
    schedule, stopping = ScheduleConfig(name="cosine", warmup_steps=2), StoppingConfig(metric="nll", patience=4)

    def run(name: str, tracking: TrackingConfig) -> tuple[list[bytes], list[dict[str, Any]]]:
        folder = train(
            settings(output=tmp_path / name, steps=8, tracking=tracking, schedule=schedule, stopping=stopping, seed=3)
        )
        return weights(folder), [{key: line[key] for key in line if key != "seconds"} for line in metrics(folder)]

    one, two, without = run("one", BOTH), run("two", BOTH), run("without", TrackingConfig())
    assert len(one[0]) == 2
    assert one == two
    assert one == without


@pytest.mark.parametrize("world", [None, "1"])
def test_torch_distributed_stays_as_it_is(world: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accelerate would join the processes again where it sees a launcher's variables."""
    if world:
        for name, value in {
            "RANK": "0",
            "LOCAL_RANK": "0",
            "WORLD_SIZE": world,
            "MASTER_ADDR": "x",
            "MASTER_PORT": "1",
        }.items():
            monkeypatch.setenv(name, value)
    before = dict(os.environ)
    from accelerate import PartialState

    PartialState._reset_state()  # what the process of an earlier test left
    trackers = Trackers(TENSORBOARD)
    trackers.open(tmp_path, {"seed": 0}, 0)
    trackers.log(2, {"step_nll": 1.0}, None)
    trackers.close()
    assert not torch.distributed.is_initialized()
    assert dict(os.environ) == before
    assert PartialState().num_processes == 1
    assert scalars(tmp_path)["step_nll"] == [(2, 1.0)]


def test_two_processes_write_one_log(execute: Execute, flags: list[str], tmp_path: Path) -> None:
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2)
    more = ("--tracking.tensorboard", "true", "--tracking.wandb", "true", "--tracking.every", 3, "--output", tmp_path / "run")
    run = execute(*launcher, RUN, *flags, *more, timeout=500)
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*"))) == 1
    assert [step for step, _ in scalars(tmp_path / "run")["step_nll"]] == [3, 6]


# --- no network ---


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[bytes]]]:
    """A server that all traffic is directed to, and what it was asked for."""
    asked: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def listen() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                asked.append(connection.recv(4096))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(timeout=60)


def test_nobody_is_called_even_where_a_key_and_an_online_mode_are_set(
    execute: Execute, flags: list[str], proxy: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    address, asked = proxy
    environment = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), address)
    environment |= {
        "NO_PROXY": "",
        "no_proxy": "",
        "WANDB_MODE": "online",
        "WANDB_API_KEY": "0" * 40,
        "WANDB_BASE_URL": address,
    }
    environment["HOME"] = str(tmp_path)
    more = ("--tracking.tensorboard", "true", "--tracking.wandb", "true", "--tracking.every", 1, "--output", tmp_path / "run")
    run = execute(sys.executable, RUN, *flags, *more, **environment)
    assert run.returncode == 0, run.stderr
    assert asked == []
    assert "wandb" not in run.stdout + run.stderr, "no login, no advertisement"
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))


# --- what is missing or fails ---


@pytest.mark.parametrize(
    ("name", "absent"),
    [("tensorboard", "tensorboard"), ("wandb", "wandb"), ("tensorboard", "accelerate"), ("wandb", "accelerate")],
)
def test_a_missing_package_is_one_line_before_anything_is_loaded(
    name: str, absent: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None if package == absent else real(package))
    monkeypatch.setattr("vip_train.splits.get_task", lambda _: pytest.fail("loads data"))
    with pytest.raises(UserError) as caught:
        train(settings(output=tmp_path / "run", tracking=TrackingConfig(**{name: True})))  # type: ignore[arg-type]
    assert str(caught.value) == f"tracking.{name}=true: {absent} is not installed; pip install 'vip-train[{name}]'"
    assert list(tmp_path.iterdir()) == []


def test_without_trackers_their_packages_are_not_imported(execute: Execute, flags: list[str], tmp_path: Path) -> None:
    script = "import sys; from vip_train.cli import main; assert not main(['train', *sys.argv[1:]]); print(*sys.modules)"
    run = execute(sys.executable, "-c", script, *flags, "--output", tmp_path / "run")
    assert run.returncode == 0, run.stderr
    assert not {"wandb", "tensorboard", "torch.utils.tensorboard"} & set(run.stdout.split())


def test_where_they_cannot_write_one_line_says_so(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file")
    trackers = Trackers(TENSORBOARD)
    with pytest.raises(UserError, match="trackers cannot write there"):
        trackers.open(tmp_path, {}, 0)
    trackers.close()


def test_nothing_wanted_does_nothing(tmp_path: Path) -> None:
    check_trackers(TrackingConfig())
    trackers = Trackers(TrackingConfig())
    trackers.open(tmp_path, {}, 0)
    trackers.log(10, {"step_nll": 1.0}, None)
    trackers.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("values", "named"), [({"every": 0}, "tracking.every=0"), ({"project": ""}, "tracking.project=''")])
def test_a_wrong_value_is_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        TrackingConfig(**values)
