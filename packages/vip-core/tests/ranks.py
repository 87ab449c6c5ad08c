"""One of the processes that test_distributed.py starts: runs every scenario and saves what this rank found.

Arguments: rank, number of ranks, file of the process group, file of the results.
"""

import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from vip_core import Codebook, ContextualizerConfig, Quantizer, QuantizerConfig, VIPConfig, VIPPrompt
from vip_core.codebook import Seen
from vip_core.distributed import copy_from_first_rank_, gather_from_ranks, sum_over_ranks_, world_size

Found = dict[str, Any]


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def state_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def train(rank: int, ema: Any, *, warmup_steps: int, empty: Callable[[int], bool]) -> Callable[[], Found]:
    """Builds a quantizer that differs on every rank; returns the training to be run once there is a group."""
    settings = QuantizerConfig(codes=6, draws=4, ema=ema, decay=0.8, warmup_steps=warmup_steps, revive_below=0.6)
    quantizer = Quantizer(settings, normal(6, 5, seed=rank)).train()

    def run() -> Found:
        states, weights = [], []
        for step in range(6):
            rows = 0 if rank == 1 and empty(step) else 2 + rank
            torch.manual_seed(100 * rank + step)
            weights.append(quantizer(torch.randn(rows, 3, 5) + 3 * rank).weight_BPK)
            states.append(state_of(quantizer))
        return {"states": states, "weights": weights}

    return run


def update(rank: int, ranks: int, ema: Any) -> Callable[[], Found]:
    """One half of the rows of a batch, with weights made beforehand."""
    codebook = Codebook(QuantizerConfig(codes=6, ema=ema, decay=0.9, warmup_steps=0, revive_below=0.0), normal(6, 5, seed=0))

    def run() -> Found:
        for step in range(5):
            mine = slice(rank, None, ranks)
            vector_ND, weight_NK = normal(8, 5, seed=step), normal(8, 6, seed=50 + step).softmax(1)
            codebook.update_(Seen(vector_ND[mine], weight_NK[mine], normal(8, seed=99 + step).abs()[mine]), None)
        return state_of(codebook)

    return run


def share_of_batch(rank: int, ranks: int) -> Callable[[], Found]:
    """A whole prompt trained on this rank's rows of batches of 8, with gradients averaged over ranks as DDP does it."""
    settings = VIPConfig(
        prompt_length=3,
        contextualizer=ContextualizerConfig(width=8, feedforward=16, heads=2),
        quantizer=QuantizerConfig(codes=5, decay=0.8, warmup_steps=0, revive_below=0.0),
    )
    torch.manual_seed(0)
    module = VIPPrompt(settings, normal(30, 6, seed=0)).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)

    def run() -> Found:
        outputs = []
        for step in range(5):
            text_BSD, mask_BS = normal(8, 4, 6, seed=step), torch.ones(8, 4)
            found = module(text_BSD[rank::ranks], mask_BS[rank::ranks], how="expected")
            (found.prompt_BPD.square().mean() + found.commitment).backward()
            for parameter in module.parameters():
                assert parameter.grad is not None
                sum_over_ranks_(parameter.grad)
                parameter.grad /= ranks
            optimizer.step()
            optimizer.zero_grad()
            outputs.append(found.prompt_BPD.detach())
        return {"state": state_of(module), "outputs": outputs}

    return run


def prompt(rank: int) -> Callable[[], Found]:
    """The whole prompt, whose second rank has no rows in the step that starts the codes."""
    settings = VIPConfig(
        prompt_length=3,
        contextualizer=ContextualizerConfig(width=8, feedforward=16, heads=2),
        quantizer=QuantizerConfig(codes=4, draws=3, warmup_steps=2, revive_below=0.5),
    )
    torch.manual_seed(rank)
    module = VIPPrompt(settings, normal(30, 6, seed=0)).train()

    def run() -> Found:
        for step in range(5):
            rows = 0 if rank == 1 and step == 1 else 3
            found = module(normal(rows, 4, 6, seed=10 * rank + step), torch.ones(rows, 4))
            (found.embeds_BLD.sum() + found.commitment).backward()
        return {name: value for name, value in state_of(module).items() if name.startswith("quantizer.")}

    return run


def held(rank: int) -> Callable[[], Found]:
    """A step in three parts, the first of which is the first forward since there is a group."""
    quantizer = Quantizer(QuantizerConfig(codes=4, draws=3, warmup_steps=1, revive_below=0.0), normal(4, 2, seed=rank)).train()

    def run() -> Found:
        for step in range(2):
            with quantizer.codebook.held():
                for part in range(2):
                    quantizer(normal(2, 3, 2, seed=20 * rank + 3 * step + part))
            quantizer(normal(2, 3, 2, seed=20 * rank + 3 * step + 2))
        return state_of(quantizer.codebook)

    return run


def start(rank: int) -> Callable[[], Found]:
    """k-means over four vectors of rank 0 and one of rank 1, of which it keeps each as a code."""
    codebook = Codebook(QuantizerConfig(codes=5, warmup_steps=1), normal(5, 2, seed=rank))

    def run() -> Found:
        codebook.join_()
        codebook.learn_(Seen(rank_rows(rank), torch.zeros(0, 0)), None)
        return state_of(codebook)

    return run


def revive(rank: int, dead: int) -> Callable[[], Found]:
    """Revival out of four vectors of rank 0 and one of rank 1."""
    codebook = Codebook(QuantizerConfig(codes=9, warmup_steps=0, revive_below=0.5, temperature=1.0), normal(9, 2, seed=0))
    codebook.count_K[:dead] = 0.0
    codebook.sum_KD[:dead] = 0.0

    def run() -> Found:
        vector_ND = rank_rows(rank)
        codebook.update_(Seen(vector_ND, torch.zeros(len(vector_ND), 9), torch.zeros(len(vector_ND))), None)
        return state_of(codebook)

    return run


def rank_rows(rank: int) -> Tensor:
    """Vectors that are told apart by their first coordinate: 100, 101, 102, 103 of rank 0, 200 of rank 1, none of others."""
    first_N = {0: torch.arange(100.0, 104.0), 1: torch.tensor([200.0])}.get(rank, torch.empty(0))
    return torch.stack([first_N, first_N / 2], dim=1)


def trained_alone(rank: int) -> Callable[[], Found]:
    """A quantizer that each rank has used before there was a group, as a trial forward would."""
    quantizer = Quantizer(QuantizerConfig(codes=4, draws=3, decay=0.8, warmup_steps=0), normal(4, 5, seed=rank)).train()
    quantizer(normal(2, 3, 5, seed=rank))

    def run() -> Found:
        for step in range(3):
            quantizer(normal(2, 3, 5, seed=10 * rank + step))
        return state_of(quantizer)

    return run


def collectives(rank: int) -> Found:
    """The seam itself."""
    one_2, two_12 = torch.tensor([1.0, 2.0]) + rank, torch.full((1, 2), 10.0**rank)
    copied, flag = torch.tensor([5.0 + rank]), torch.tensor(rank)
    gathered = gather_from_ranks(torch.full((2, 3), float(rank)).T)
    flags = gather_from_ranks(torch.tensor([rank == 0, True]))
    sum_over_ranks_(one_2, two_12)
    copy_from_first_rank_(copied, flag)
    return {"size": world_size(), "sums": [one_2, two_12], "copies": [copied, flag], "gathered": gathered, "flags": flags}


def main() -> None:
    rank, ranks, group, results = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    torch.set_num_threads(1)

    def third(step: int) -> bool:
        return step == 2

    # All modules come before the group, as they do where a launcher makes it late.
    scenarios: dict[str, Callable[[], Found]] = {
        "train mean": train(rank, "mean", warmup_steps=0, empty=third),
        "train reference": train(rank, "reference", warmup_steps=0, empty=third),
        "train from k-means": train(rank, "mean", warmup_steps=2, empty=third),
        "train with a rank always empty": train(rank, "mean", warmup_steps=1, empty=lambda _: True),
        "update mean": update(rank, ranks, "mean"),
        "update reference": update(rank, ranks, "reference"),
        "share of a batch": share_of_batch(rank, ranks),
        "prompt": prompt(rank),
        "held": held(rank),
        "start": start(rank),
        "revive two": revive(rank, 2),
        "revive eight": revive(rank, 8),
        "trained alone": trained_alone(rank),
        "collectives": lambda: collectives(rank),
    }
    dist.init_process_group("gloo", init_method=f"file://{group}", rank=rank, world_size=ranks, timeout=timedelta(seconds=240))
    found = {name: run() for name, run in scenarios.items()}
    dist.destroy_process_group()
    torch.save(found, results)


if __name__ == "__main__":
    main()
