"""Time and memory of a training step of the prompt and of its quantizer, beside two other formulations; import time.

A step is forward, backward from a fixed gradient (as a backbone hands back) and the codebook's update, with dropout on.
All candidates run in this process on the same inputs and take turns; times are medians over rounds, memory is the most that was
held at once beyond what was there before the step. Rows:

- release: the paper's released arithmetic, in a text of our own (`ReleaseQuantizer`), behind the same post-norm
  contextualizer out of nn.TransformerEncoder. All ratios are to this row.
- release, every draw: the same with one row per draw, M x N x K numbers. The release counts its draws as it makes them.
- vector-quantize-pytorch: its hard EMA quantizer (one code per token, no draws) behind vip_core's paper-shaped contextualizer.
- vip_core, paper: `VIPConfig.paper()`.
- vip_core, recommended in D: `VIPConfig()` at the same P and K, past its warm-up, with codes after W_up (`space="embedding"`).
- vip_core, recommended: the same with codes before W_up, as it is.
- vip_core, as it comes (whole prompt only): `VIPConfig()` with its own P = 10 and K = 40, past its warm-up.

    nox -s bench -- quantizer [--quick] [--batch 32 --source 384 --prompt 100 --dim 768 --codes 1000 --draws 10 --rounds 9]
"""

import argparse
import dataclasses
import datetime
import gc
import importlib.metadata
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from _formulations import BETA, LibraryQuantizer, OtherPrompt, PlainContextualizer, ReleaseQuantizer
from torch import Tensor, nn
from vip_core import Contextualizer, Quantizer, QuantizerConfig, VIPConfig, VIPPrompt

Step = Callable[[], None]
Build = Callable[["Sizes", str], dict[str, Step]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    batch: int = 32
    source: int = 384
    prompt: int = 100
    dim: int = 768
    codes: int = 1000
    draws: int = 10


class Cost(NamedTuple):
    seconds: float
    extra_bytes: int


# --- candidates: each a step to be timed ---


def prompt_steps(sizes: Sizes, device: str) -> dict[str, Step]:
    """Contextualizer and quantizer of each candidate on the same text, of which a quarter of the rows is padded to half."""
    torch.manual_seed(0)
    vocabulary_VD = 5 * torch.randn(sizes.prompt + sizes.codes, sizes.dim, device=device)
    text_BSD = 5 * torch.randn(sizes.batch, sizes.source, sizes.dim, device=device)
    mask_BS = torch.ones(sizes.batch, sizes.source, dtype=torch.int64, device=device)
    mask_BS[::4, sizes.source // 2 :] = 0
    start_PD, start_KD = vocabulary_VD[: sizes.prompt], start_codes(vocabulary_VD[sizes.prompt :])
    paper = VIPConfig.paper(prompt_length=sizes.prompt)
    paper = dataclasses.replace(paper, quantizer=dataclasses.replace(paper.quantizer, codes=sizes.codes, draws=sizes.draws))
    own = VIPConfig(quantizer=QuantizerConfig(warmup_steps=0))
    same = QuantizerConfig(codes=sizes.codes, draws=sizes.draws, warmup_steps=0)
    wide = dataclasses.replace(same, space="embedding")
    library = LibraryQuantizer(sizes.dim, sizes.codes)
    prompts = {
        "release": OtherPrompt(PlainContextualizer(sizes.dim), ReleaseQuantizer(start_KD, sizes.draws), start_PD),
        "vector-quantize-pytorch": OtherPrompt(Contextualizer(paper.contextualizer, sizes.dim), library, start_PD),
        "vip_core, paper": VIPPrompt(paper, vocabulary_VD),
        "vip_core, recommended in D": VIPPrompt(VIPConfig(prompt_length=sizes.prompt, quantizer=wide), vocabulary_VD),
        "vip_core, recommended": VIPPrompt(VIPConfig(prompt_length=sizes.prompt, quantizer=same), vocabulary_VD),
        "vip_core, as it comes": VIPPrompt(own, vocabulary_VD),
    }
    return {name: training_step(prompt.to(device), text_BSD, mask_BS) for name, prompt in prompts.items()}


def quantizer_steps(sizes: Sizes, device: str) -> dict[str, Step]:
    """The quantizers alone, on contextual prompt vectors that are a leaf of the graph, D wide, or C for codes before W_up.

    W_up is in none of them; everybody has one, before the quantizer or after it.
    """
    torch.manual_seed(0)
    context_BPD = 5 * torch.randn(sizes.batch, sizes.prompt, sizes.dim, device=device)
    start_KD = start_codes(torch.randn(sizes.codes, sizes.dim, device=device))
    paper = dataclasses.replace(VIPConfig.paper().quantizer, codes=sizes.codes, draws=sizes.draws)
    recommended = QuantizerConfig(codes=sizes.codes, draws=sizes.draws, warmup_steps=0)
    quantizers = {
        "release": ReleaseQuantizer(start_KD, sizes.draws),
        "release, every draw": ReleaseQuantizer(start_KD, sizes.draws, every_draw=True),
        "vector-quantize-pytorch": LibraryQuantizer(sizes.dim, sizes.codes),
        "vip_core, paper": Quantizer(paper, start_KD),
        "vip_core, recommended in D": Quantizer(recommended, start_KD),
    }
    steps = {
        name: training_step(quantizer.to(device), context_BPD.clone().requires_grad_())
        for name, quantizer in quantizers.items()
    }
    width = VIPConfig().contextualizer.width
    hidden_BPC = torch.randn(sizes.batch, sizes.prompt, width, device=device).requires_grad_()
    bottleneck = Quantizer(recommended, torch.randn(sizes.codes, width, device=device))
    return steps | {"vip_core, recommended": training_step(bottleneck.to(device), hidden_BPC)}


def start_codes(row_KD: Tensor) -> Tensor:
    return 100 * nn.functional.normalize(row_KD, dim=1)


def training_step(module: nn.Module, *inputs: Tensor) -> Step:
    """Forward in training, then backward from a fixed gradient of what is read and from the commitment loss."""
    module.train()
    needing = [tensor for tensor in [*module.parameters(), *inputs] if tensor.requires_grad]
    gradients: list[Tensor] = []

    def step() -> None:
        found = module(*inputs)
        read, commitment = found[0], found[-1]
        if not gradients:
            gradients.append(torch.randn_like(read))
        torch.autograd.backward((read, commitment), (gradients[0], torch.full_like(commitment, BETA)))
        for tensor in needing:
            tensor.grad = None

    return step


GROWTH = [
    ("quantizer alone", quantizer_steps, "prompt", (25, 50, 100, 200)),
    ("quantizer alone", quantizer_steps, "codes", (250, 500, 1000, 2000)),
    ("whole prompt", prompt_steps, "prompt", (25, 50, 100)),
    ("whole prompt", prompt_steps, "source", (96, 192, 384)),
]


# --- measuring ---


def measure(steps: dict[str, Step], device: str, rounds: int) -> dict[str, Cost]:
    """Medians over rounds in which the candidates take turns, after a round that is not counted; then memory, one step each."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    for _ in range(rounds + 1):
        for name, step in steps.items():
            wait()
            started = time.perf_counter()
            step()
            wait()
            seconds[name].append(time.perf_counter() - started)
    return {name: Cost(statistics.median(seconds[name][1:]), extra_bytes(step, device)) for name, step in steps.items()}


def extra_bytes(step: Step, device: str) -> int:
    """The most bytes of tensors and their kernels' temporaries held at once during a step, beyond those held before it."""
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    activity = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity], profile_memory=True, acc_events=True) as profiler:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]"]
    held = most = 0
    for event in sorted(changes, key=lambda event: event["ts"]):
        held += event["args"]["Bytes"]
        most = max(most, held)
    return most


def import_seconds(modules: tuple[str, ...], rounds: int) -> list[float]:
    """Median time of `import` in fresh interpreters, the modules taking turns after a round that is not counted."""
    script = "import time; started = time.perf_counter(); import {}; print(time.perf_counter() - started)"
    commands = [[sys.executable, "-c", script.format(module)] for module in modules]
    seconds = [[float(subprocess.check_output(command)) for command in commands] for _ in range(rounds + 1)]
    return [statistics.median(times) for times in zip(*seconds[1:], strict=True)]


def machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    processor = Path("/proc/cpuinfo")
    lines = processor.read_text().splitlines() if processor.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} threads"


# --- printing ---


def table(title: str, costs: dict[str, Cost]) -> None:
    first = next(iter(costs.values()))
    print(f"\n{title}\n  {'':26s} {'ms':>9s} {'faster':>8s} {'MiB':>9s} {'memory':>8s}")
    for name, cost in costs.items():
        faster, share = first.seconds / cost.seconds, cost.extra_bytes / first.extra_bytes
        print(f"  {name:26s} {cost.seconds * 1e3:9.1f} {faster:7.2f}x {cost.extra_bytes / 2**20:9.1f} {share:7.3f}x")


def growth(what: str, build: Build, name: str, values: tuple[int, ...], sizes: Sizes, device: str, rounds: int) -> None:
    """How costs grow with one size while the others stay."""
    print(f"\n{what}, growth with {name}: ms (MiB)")
    for value in values:
        steps = build(dataclasses.replace(sizes, **{name: value}), device)
        steps = {who: step for who, step in steps.items() if who not in ("release, every draw", "vip_core, as it comes")}
        costs = measure(steps, device, rounds)
        cells = [f"{who} {cost.seconds * 1e3:.0f} ({cost.extra_bytes / 2**20:.0f})" for who, cost in costs.items()]
        print(f"  {value:5d}  " + "; ".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in dataclasses.fields(Sizes):
        parser.add_argument(f"--{field.name}", type=int, default=field.default)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="three rounds, no growth tables")
    options = vars(parser.parse_args())
    quick, rounds = options.pop("quick"), options.pop("rounds")
    sizes, rounds = Sizes(**options), 3 if quick else rounds
    library = f"vector-quantize-pytorch {importlib.metadata.version('vector-quantize-pytorch')}"
    print(f"torch {torch.__version__}, {library}, Python {platform.python_version()}, {datetime.date.today()}")
    print(", ".join(f"{name} {value}" for name, value in dataclasses.asdict(sizes).items()), f"; median of {rounds} rounds")
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        print(f"\n== {device}: {machine(device)}")
        table("quantizer alone", measure(quantizer_steps(sizes, device), device, rounds))
        table("whole prompt", measure(prompt_steps(sizes, device), device, rounds))
        for what, build, name, values in [] if quick else GROWTH:
            growth(what, build, name, values, sizes, device, max(rounds // 3, 1))
    ours, torchs = import_seconds(("vip_core", "torch"), max(rounds, 5))
    print(f"\nimport vip_core {ours:.2f} s, import torch {torchs:.2f} s: {ours / torchs:.3f}x")


if __name__ == "__main__":
    main()
