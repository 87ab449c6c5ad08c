"""Weights that DeepSpeed ZeRO 3 has spread over processes. Everything here does nothing to weights that are whole."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds only a part of it."""
    return hasattr(tensor, "ds_id")  # what DeepSpeed's own public helpers ask


def whole(tensors: Iterable[Tensor]) -> AbstractContextManager[Any]:
    """Gathers tensors for reading while the context lasts; every process has to enter it."""
    sharded = [tensor for tensor in tensors if is_sharded(tensor)]
    if not sharded:
        return nullcontext()
    import deepspeed

    context: AbstractContextManager[Any] = deepspeed.zero.GatheredParameters(sharded)
    return context


def size(tensor: Tensor) -> int:
    """Number of elements of the whole."""
    return int(getattr(tensor, "ds_numel", tensor.numel()))


class _ShardedLoading:
    """What transformers asks of the object that switches its ZeRO 3 loading on.

    Its own `HfDeepSpeedConfig` answers the same but wants the accelerate package installed.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def is_zero3(self) -> bool:
        return True


@contextmanager
def sharded_loading(config: dict[str, Any] | None) -> Iterator[None]:
    """While it lasts `from_pretrained` spreads what it loads over the processes.

    The first process reads the files, one parameter at a time; no process ever holds a whole model.

    Args:
        config: of DeepSpeed; None loads as ever.
    """
    if config is None:
        yield
        return
    from transformers.integrations.deepspeed import set_hf_deepspeed_config, unset_hf_deepspeed_config

    keep = _ShardedLoading(config)  # transformers holds it weakly
    set_hf_deepspeed_config(keep)
    try:
        yield
    finally:
        unset_hf_deepspeed_config()
        del keep
