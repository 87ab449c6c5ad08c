"""The configurations that the package brings: all are valid, and say for which machine they are and how to start them."""

import re
import shlex
from pathlib import Path

import pytest
from vip_core import VIPConfig
from vip_train.config import TrainConfig, parse
from vip_train.engine import check_engine
from vip_train.schedule import ScheduleConfig
from vip_train.stopping import StoppingConfig

CONFIGS = sorted((Path(__file__).parent.parent / "configs").rglob("*.yaml"))
SIZES = [path for path in CONFIGS if path.parent.name != "configs"]
PROCESSES = {"one-gpu": 1, "one-node": 8, "two-nodes": 16}


def read(path: Path, *flags: str) -> TrainConfig:
    return parse(TrainConfig, ["--config", str(path), *flags], prog="vip-train train")


def test_there_are_configurations() -> None:
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_configuration_of_the_package_is_valid(path: Path) -> None:
    assert read(path) != TrainConfig()


def test_there_is_a_configuration_for_each_size_and_machine() -> None:
    found = {(path.parent.name, path.stem) for path in SIZES}
    assert found == {(size, machine) for size in ("t5-base", "t5-3b", "t5-11b") for machine in PROCESSES}


@pytest.mark.parametrize("path", SIZES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_configuration_of_a_machine_says_what_it_takes_and_how_to_start_it(path: Path) -> None:
    config = read(path)
    assert config.optimizer.batch_size % PROCESSES[path.stem] == 0
    assert (config.engine.name == "deepspeed") is (path.stem != "one-gpu")
    check_engine(config.optimizer, config.engine, deepspeed=config.engine.name == "deepspeed")
    header = "".join(line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.startswith("#"))
    assert "an estimate by arithmetic and not a measurement" in header
    launchers = {"one-gpu": ["python "], "one-node": ["deepspeed ", "torchrun "], "two-nodes": ["--hostfile", "torchrun "]}
    for needed in ("#SBATCH", "srun", "--signal=TERM@", *launchers[path.stem]):
        assert needed in header
    commands = re.findall(r"run\.py +(--config .*)", header.replace("\\\n#", ""))
    assert len(commands) == {"one-gpu": 2, "one-node": 3, "two-nodes": 3}[path.stem]
    for command in commands:
        _, name, *rest = shlex.split(command)
        assert path.samefile(path.parents[4] / name)
        assert read(path, *rest).output == Path(f"runs/{path.parent.name}")


def test_the_papers_configuration_is_the_papers_prompt() -> None:
    (path,) = (path for path in CONFIGS if path.name == "paper.yaml")
    config = read(path)
    assert config.vip == VIPConfig.paper()
    assert (config.optimizer.name, config.optimizer.schedule) == ("adafactor", ScheduleConfig())
    rates = config.optimizer.learning_rates(30000)
    assert (rates["prompt"], rates["contextualizer"]) == (0.3, 1e-4)
    assert config.optimizer.stopping == StoppingConfig(patience=20 * config.optimizer.evaluate_every)
