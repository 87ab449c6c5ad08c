"""The demo page under load: one text at a time, 200 clients for a minute, and memory over 2,000 requests.

    nox -s bench -- demo [--clients 200] [--seconds 60] [--requests 2000]

The page runs in a process of its own and is asked over HTTP on loopback, by its endpoint /inspect with the bundled adapter and
texts of the suite. A client that is told "busy" waits as long as it is told and asks again. Anything else that is no answer
is an error.
"""

import argparse
import asyncio
import collections
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from vip_demo import bundled_adapter, inspect
from vip_train import TASKS, load_adapter

TEXTS = [example.source for example in TASKS["suite/forms"].load("validation", None)]


def quantiles(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return "too few"
    cuts = statistics.quantiles(seconds, n=20)
    return f"p50 {1000 * statistics.median(seconds):.0f} ms, p95 {1000 * cuts[18]:.0f} ms"


async def ask(http: httpx.AsyncClient, text: str) -> tuple[str, float]:
    """`answered`, `busy` or what else happened, and how long it took; for busy how long to wait."""
    start = time.perf_counter()
    try:
        posted = await http.post("/gradio_api/call/inspect", json={"data": ["bundled", text, "expected", 0]})
        if posted.status_code == 503 and "busy" in posted.text:
            return "busy", float(posted.headers["retry-after"])
        if posted.status_code != 200:
            return f"status {posted.status_code}", 0.0
        found = await http.get(f"/gradio_api/call/inspect/{posted.json()['event_id']}")
    except httpx.HTTPError as error:
        return type(error).__name__, 0.0
    fine = "event: complete" in found.text and '"problem": ""' in found.text
    return ("answered" if fine else f"no answer: {found.text[:80]!r}"), time.perf_counter() - start


async def one_after_another(address: str, count: int) -> list[float]:
    async with httpx.AsyncClient(base_url=address, timeout=60) as http:
        found = [await ask(http, TEXTS[number % len(TEXTS)]) for number in range(count)]
    if wrong := [what for what, _ in found if what != "answered"]:
        raise RuntimeError(wrong[0])
    return [seconds for _, seconds in found]


async def crowd(address: str, clients: int, seconds: float) -> tuple[collections.Counter[str], list[float]]:
    counts: collections.Counter[str] = collections.Counter()
    times: list[float] = []
    end = time.monotonic() + seconds

    async def client(number: int) -> None:
        # As visitors have it: each a connection of its own.
        async with httpx.AsyncClient(base_url=address, timeout=120) as http:
            while time.monotonic() < end:
                what, took = await ask(http, TEXTS[(number * 7919 + sum(counts.values())) % len(TEXTS)])
                counts[what] += 1
                if what == "answered":
                    times.append(took)
                else:
                    await asyncio.sleep(took)

    await asyncio.gather(*(client(number) for number in range(clients)))
    return counts, times


def resident(process: subprocess.Popen[Any]) -> float:
    """MB of main memory that the page's process holds."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--requests", type=int, default=2000)
    given = parser.parse_args()

    adapter = load_adapter(bundled_adapter())
    alone = []
    for text in TEXTS[:220]:
        start = time.perf_counter()
        inspect(adapter, [text])
        alone.append(time.perf_counter() - start)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-u", "-m", "vip_demo", "--port", str(port), "--adapters", "nowhere"]
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    try:
        if process.stdout is None or address not in process.stdout.readline():
            raise RuntimeError("the page was not served")
        print(f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, Python {platform.python_version()}\n")
        asyncio.run(one_after_another(address, 20))
        print(f"one text, the layer below alone: {quantiles(alone[20:])}")
        print(f"one text at a time over HTTP: {quantiles(asyncio.run(one_after_another(address, 200)))}")
        counts, times = asyncio.run(crowd(address, given.clients, given.seconds))
        print(f"{given.clients} clients for {given.seconds:.0f} s: {dict(counts)}; answered: {quantiles(times)}")
        steps = 5
        sizes = [resident(process)]
        for _ in range(steps):
            asyncio.run(one_after_another(address, given.requests // steps))
            sizes.append(resident(process))
        print(f"memory over {given.requests} more requests, MB: {', '.join(f'{size:.0f}' for size in sizes)}")
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    main()
