"""Runs groups of processes one after another, each of which answers a split with a backbone that writes much.

Arguments: the folder of the backbone, and one that holds the prompt's state (`prompt.pt`) and gets the results,
`NAME.RANK.json`. The processes are forked from this one, so that everything is imported only once.
"""

import json
import os
import socket
import sys
import time
import traceback
from pathlib import Path

import deepspeed  # noqa: F401 - so that the forked processes need not
import torch
from vip_core import ContextualizerConfig, VIPConfig, VIPPrompt
from vip_train.backbones import load_backbone
from vip_train.config import EngineConfig, OptimizerConfig
from vip_train.engine import build_engine
from vip_train.evaluation import evaluate
from vip_train.model import VIPModel
from vip_train.scoring import Scoring
from vip_train.sharding import is_sharded, whole
from vip_train.tasks import Example
from vip_train.tokenised import TokenisedSplit
from vip_train.world import join_world, leave_world
from vip_train.zero import loading_config

GROUPS = {"alone": 1, "two": 2, "three": 3, "zero 3": 2}
SOURCES = ["Bake.", "Tura ke lo sendor milo.", "Ke lo.", "Milo tura ba ip oth nak.", "Sen.", "Vil nak oth ip.", "Ra tu."]
TARGETS = ["ba", "milotura ke", "lo", "ba ke lo mi tu ra", "ip oth", "ke", "sendor vil"]
EXAMPLES = [Example(source, target, "") for source, target in zip(SOURCES, TARGETS, strict=True)]
CONFIG = VIPConfig(
    prompt_length=3, method="vip-c", contextualizer=ContextualizerConfig(width=8, layers=1, heads=2, feedforward=16)
)
LIMIT = 120  # seconds for a group: collectives wait for ever


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def act(name: str, rank: int, port: int, folder: Path, results: Path) -> None:
    """What a forked process does."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": GROUPS[name], "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({key: str(value) for key, value in names.items()})
    torch.set_num_threads(1)
    sharded = name == "zero 3"
    world = join_world(deepspeed=sharded)
    optimizer = OptimizerConfig(batch_size=2, prompt_learning_rate=0.0, contextualizer_learning_rate=0.0)
    engine = EngineConfig(zero_stage=3)
    loading = loading_config(optimizer, engine, world, torch.float32) if sharded else None
    backbone = load_backbone(str(folder), precision="fp32", sharded=loading)
    embedding = backbone.model.get_input_embeddings().weight
    with whole([embedding]):
        prompt = VIPPrompt(CONFIG, embedding)
    prompt.load_state_dict(torch.load(results / "prompt.pt", weights_only=True))
    model = VIPModel(backbone.model, prompt)
    split, found = TokenisedSplit(EXAMPLES, backbone.tokenizer, 480), {}
    if sharded:
        trained = build_engine(model.train(), optimizer, engine, world, deepspeed=True)
        trained.step(trained.forward(*split.batch([rank])).loss)  # as in a run, where an evaluation follows steps
        assert all(is_sharded(parameter) for parameter in model.parameters())
    for how, answers in (("written", ()), ("chosen", tuple(TARGETS))):
        figures = evaluate(model, split, Scoring.among(answers), backbone.tokenizer, world, batch_size=1)
        found[how] = {"texts": figures.answers, "accuracy": figures.scores.values["accuracy"], "nll": figures.nll}
    leave_world()
    (results / f"{name}.{rank}.json").write_text(json.dumps(found), encoding="utf-8")


def run(name: str, folder: Path, results: Path) -> bool:
    """Whether all processes of a group ended well."""
    port, processes = free_port(), []
    for rank in range(GROUPS[name]):
        if (process := os.fork()) == 0:
            status = 1
            try:
                act(name, rank, port, folder, results)
                status = 0
            except Exception:  # noqa: BLE001 - what a whole process would do
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        processes.append(process)
    ended, until = {}, time.monotonic() + LIMIT
    while len(ended) < len(processes):
        process, status = os.waitpid(-1, os.WNOHANG)
        if process:
            ended[process] = status
        elif time.monotonic() > until:
            for left in set(processes) - ended.keys():
                os.kill(left, 9)
        else:
            time.sleep(0.02)
    return not any(ended.values())


if __name__ == "__main__":
    folder, results = Path(sys.argv[1]), Path(sys.argv[2])
    sys.exit(not all(run(name, folder, results) for name in GROUPS))
