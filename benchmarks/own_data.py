"""Memory of a run on a user's own table, from the file to batches: what grows with it and what does not.

A JSON lines file of so many megabytes is made and removed again, with sources of 40 to 280 invented words and two labels. Each
phase has the most that was resident in it, in MiB: anonymous memory, which a machine has to have, and mapped files, which the
system drops when it needs the room. --stand-in takes every fourth byte for a token in place of the bundled tokenizer, which
needs minutes for 100 MB and keeps memory of its own.

    nox -s bench -- own_data [--megabytes 100] [--stand-in]
"""

import argparse
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from vip_train import load_backbone
from vip_train.data import digest
from vip_train.scoring import Scoring
from vip_train.tasks.own import OwnTask
from vip_train.tokenised import TokenisedSplit


class StandIn:
    pad_token_id, eos_token_id = 0, 1

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[*text.encode()[::4], 1] for text in texts]}


def write(path: Path, size: int) -> None:
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(5000)]
    texts = [" ".join(rng.choices(words, k=rng.randint(40, 280))) for _ in range(5000)]
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            for text in texts:
                file.write(json.dumps({"source": f"{rng.random()} {text}", "target": rng.choice(["yes", "no"])}) + "\n")


def resident() -> dict[str, int]:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return {line.split(":")[0]: int(line.split()[1]) // 1024 for line in lines if line.startswith(("RssAnon", "RssFile"))}


def measured(name: str, work: Callable[[], Any]) -> Any:
    peak = resident()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            for key, value in resident().items():
                peak[key] = max(peak[key], value)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    found = work()
    over.set()
    watcher.join()
    print(f"| {name} | {time.monotonic() - began:.0f} | {peak['RssAnon']} | {peak['RssFile']} |", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--stand-in", action="store_true")
    options = parser.parse_args()
    tokenizer: Any = StandIn() if options.stand_in else load_backbone().tokenizer
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write(path, options.megabytes * 10**6)
        task = OwnTask(train_file=path, labels=("yes", "no"))
        print("| phase | s | anonymous | mapped |\n|---|---|---|---|")
        measured("before", lambda: None)  # `measured` takes its first sample at once
        train, held = measured("rows read", lambda: (task.load("train", None), task.load("validation", None)))
        measured("digest", lambda: digest(train, held))
        split = measured("tokenised", lambda: TokenisedSplit(train, tokenizer, 480))
        measured("constant answers", lambda: Scoring.of(task).baseline(train, held))
        rows = torch.randint(len(train), (2000, 32)).tolist()
        measured("2000 batches of 32", lambda: max(len(split.batch(some).labels) for some in rows))
        print(f"{len(train)} training and {len(held)} validation rows, {split.truncated} sources cut to 480 tokens")


if __name__ == "__main__":
    main()
