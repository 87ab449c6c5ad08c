"""The one place where vip_core talks to other processes.

Every function is called by every rank in the same order with tensors of the same shape, whatever data a rank holds; without
an initialised process group each does nothing. Whether a group exists is asked at each call, never remembered, because models
are often built before it.
"""

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """The number of processes that share one codebook."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks_(*tensors: Tensor) -> None:
    """Replaces each tensor by its sum over all ranks, in place."""
    if world_size() > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)


def copy_from_first_rank_(*tensors: Tensor) -> None:
    """Replaces each tensor by rank 0's, in place."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def gather_from_ranks(tensor: Tensor) -> Tensor:
    """Concatenates every rank's tensor along the first axis, in rank order: [R, ...] -> [W·R, ...]."""
    if world_size() == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)
