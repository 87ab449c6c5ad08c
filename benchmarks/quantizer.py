"""Forward + backward + codebook update of the quantizer, beside a rewrite of the formulation in the paper's release.

Both run in this process, one after the other in turns, on the same inputs. Prints the median time of a step and the ratio.

    nox -s bench -- quantizer [--batch 32 --prompt 100 --dim 768 --codes 1000 --draws 10 --rounds 9]
"""

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from vip_core import Quantizer, QuantizerConfig


def release_step(context_BPD: Tensor, code_KD: Tensor, count_K: Tensor, *, draws: int, temperature: float = 100.0) -> Tensor:
    """The release's arithmetic, written anew from its description: torch.distributions.Multinomial and a dense count matrix."""
    vector_ND = context_BPD.flatten(0, 1)
    distance_NK = vector_ND.square().sum(1, keepdim=True) - 2 * vector_ND @ code_KD.T + code_KD.square().sum(1)
    sampled_MNK = torch.distributions.Multinomial(1, logits=-distance_NK / temperature).sample((draws,))
    weight_NK = sampled_MNK.mean(0)
    quantized_ND = weight_NK @ code_KD
    with torch.no_grad():
        count_K.mul_(0.99).add_(weight_NK.sum(0), alpha=0.01)
        total = count_K.sum()
        count_K.add_(1e-2).mul_(total / (total + 1e-2 * len(count_K)))
        code_KD.mul_(0.99).add_(weight_NK.T @ vector_ND / count_K[:, None], alpha=0.01)
    loss = 0.1 * (quantized_ND.detach() - vector_ND).square().mean()
    return loss + (vector_ND + (quantized_ND - vector_ND).detach()).sum()


def median_seconds(steps: dict[str, Callable[[], Tensor]], context_BPD: Tensor, rounds: int) -> dict[str, float]:
    """Median over rounds, the candidates taking turns within each; one round before them is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            context_BPD.grad = None
            _wait(context_BPD)
            started = time.perf_counter()
            step().backward()
            _wait(context_BPD)
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def _wait(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {"batch": 32, "prompt": 100, "dim": 768, "codes": 1000, "draws": 10, "rounds": 9}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    context_BPD = torch.randn(args.batch, args.prompt, args.dim, device=device, requires_grad=True)
    code_KD = torch.randn(args.codes, args.dim, device=device)
    release_KD, release_count_K = code_KD.clone(), torch.full((args.codes,), 1 / args.codes, device=device)

    def ours(**fields: object) -> Callable[[], Tensor]:
        config = QuantizerConfig(codes=args.codes, draws=args.draws, warmup_steps=0, **fields)  # type: ignore[arg-type]
        quantizer = Quantizer(config, code_KD).to(device).train()

        def step() -> Tensor:
            found = quantizer(context_BPD)
            return 0.1 * found.commitment + found.vector_BPD.sum()

        return step

    medians = median_seconds(
        {
            "release's formulation": lambda: release_step(context_BPD, release_KD, release_count_K, draws=args.draws),
            "vip_core, paper setting": ours(temperature=100.0, revive_below=0.0, decay=0.99),
            "vip_core, recommended": ours(),
        },
        context_BPD,
        args.rounds,
    )
    name = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    print(f"B={args.batch} P={args.prompt} D={args.dim} K={args.codes} M={args.draws}, median of {args.rounds} steps")
    print(f"{name}, torch {torch.__version__}, {datetime.date.today()}")
    first = next(iter(medians.values()))
    for label, seconds in medians.items():
        print(f"  {label:26s} {seconds * 1000:9.1f} ms   {first / seconds:5.2f}x")


if __name__ == "__main__":
    main()
