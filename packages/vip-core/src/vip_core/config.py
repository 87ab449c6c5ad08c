"""Settings of the method. Every field says what it is; every value is checked when the config is made.

Notation, used in names and docstrings throughout: B batch, S source tokens, P prompt tokens, D backbone width,
C contextualizer width, K codes, M draws per token, N = B·P prompt vectors, T target tokens, V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Literal, NoReturn, TypeGuard, get_args

Method = Literal["vip", "vip-c", "vip-q", "pt"]
Evaluation = Literal["expected", "argmax", "sample"]


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _refuse(config: object, name: str, allowed: str) -> NoReturn:
    raise ValueError(f"{type(config).__name__}.{name}={getattr(config, name)!r} must be {allowed}")


def _at_least(config: object, minimum: int, *names: str, whole: bool = True) -> None:
    for name in names:
        value = getattr(config, name)
        if not _is_number(value) or (whole and not isinstance(value, int)) or value < minimum:
            _refuse(config, name, f"a {'whole ' if whole else ''}number of at least {minimum}")


def _instance(config: object, **classes: type) -> None:
    for name, cls in classes.items():
        if not isinstance(getattr(config, name), cls):
            _refuse(config, name, "True or False" if cls is bool else f"a {cls.__name__}")


def _one_of(config: object, **allowed: object) -> None:
    for name, choices in allowed.items():
        value, options = getattr(config, name), get_args(choices)
        if value not in options:
            _refuse(config, name, f"one of {', '.join(map(repr, options))}")


@dataclass(frozen=True, kw_only=True)
class ContextualizerConfig:
    """The encoder that makes prompt tokens depend on the input (paper, section 3.1)."""

    width: int = 64
    """C, the bottleneck width. Paper: 32."""
    layers: int = 2
    """Transformer layers."""
    heads: int = 4
    """Attention heads; must divide `width`."""
    feedforward: int = 128
    """Width of the feed-forward layers. Paper: 64."""
    dropout: float = 0.0
    """Dropout in training. Paper: 0.1."""
    norm: Literal["pre", "post"] = "pre"
    """`pre`: layer norm on the input and before each sub-layer, and W_up's output on the scale of the vocabulary.
    `post`: layer norm after each sub-layer and nothing else, as in the paper; it hardly learns to depend on the input."""
    activation: Literal["gelu", "relu"] = "gelu"
    """Activation of the feed-forward layers. Paper: relu."""

    def __post_init__(self) -> None:
        _at_least(self, 1, "width", "layers", "heads", "feedforward")
        _one_of(self, norm=Literal["pre", "post"], activation=Literal["gelu", "relu"])
        if self.width % self.heads:
            raise ValueError(f"ContextualizerConfig.width={self.width} must be divisible by heads={self.heads}")
        if not _is_number(self.dropout) or not 0.0 <= self.dropout < 1.0:
            _refuse(self, "dropout", "in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class QuantizerConfig:
    """The codebook and how vectors are drawn from it (paper, section 3.2)."""

    codes: int = 40
    """K, the number of codes. Paper: 10·P = 1000."""
    space: Literal["bottleneck", "embedding"] = "bottleneck"
    """Where codes lie: before W_up, C numbers each, or after it, D numbers each (paper; also `vip-q`, which has no W_up)."""
    draws: int = 10
    """M, codes drawn per prompt token in training."""
    temperature: float | Literal["auto"] = "auto"
    """τ, in squared units of what is quantised. `auto` is as high as it can be while a token takes about two codes,
    none of them much farther than its nearest. Paper: 100."""
    commitment: float = 0.1
    """β, the weight of mean((sg(p^q) - p^c)²) in the loss."""
    decay: float = 0.9
    """λ of the moving averages, per training step. Paper: 0.99."""
    ema: Literal["mean", "reference"] = "mean"
    """`mean`: each code is the moving mean of the vectors drawn to it.
    `reference`: the released code's update, which keeps no sums."""
    warmup_steps: int = 300
    """Training steps without quantisation; k-means over the last one's vectors starts the codebook.
    0 starts at once from vocabulary rows, as the paper."""
    revive_below: float = 0.05
    """A code whose count falls under this share of the mean count restarts at a current vector. 0 never revives. Paper: 0."""
    start_norm: float | Literal["auto"] = "auto"
    """Norm the starting vocabulary rows are scaled to; `auto` is their mean norm. Paper: 100, tied to T5's embedding scale."""
    evaluation: Evaluation = "expected"
    """Weights in evaluation: `expected` is the mean of the sampler, `argmax` the nearest code, `sample` draws M codes."""

    def __post_init__(self) -> None:
        _at_least(self, 1, "codes", "draws")
        _at_least(self, 0, "warmup_steps")
        _at_least(self, 0, "commitment", "revive_below", whole=False)
        _one_of(self, space=Literal["bottleneck", "embedding"], ema=Literal["mean", "reference"], evaluation=Evaluation)
        for name in ("temperature", "start_norm"):
            value = getattr(self, name)
            if value != "auto" and not (_is_number(value) and value > 0):
                _refuse(self, name, "'auto' or a number above 0")
        if not _is_number(self.decay) or not 0.0 < self.decay < 1.0:
            _refuse(self, "decay", "in (0, 1)")
        if self.revive_below >= 1.0:
            _refuse(self, "revive_below", "under 1, a share of the mean count")


@dataclass(frozen=True, kw_only=True)
class VIPConfig:
    """A whole prompt: static tokens, contextualizer, quantizer, and which of them are in use."""

    prompt_length: int = 10
    """P. Paper: 100."""
    method: Method = "vip"
    """`vip`: both parts. Ablations: `vip-c` has no quantizer, `vip-q` no contextualizer, `pt` neither (soft prompt tuning)."""
    skip: bool = True
    """Whether the backbone reads p + p^q (paper) or p^q alone."""
    prompt_start: Literal["sample", "first"] = "sample"
    """Static tokens start as random vocabulary rows or as the first P rows (paper)."""
    contextualizer: ContextualizerConfig = ContextualizerConfig()
    """Not used by `vip-q` and `pt`."""
    quantizer: QuantizerConfig = QuantizerConfig()
    """Not used by `vip-c` and `pt`."""

    def __post_init__(self) -> None:
        _at_least(self, 1, "prompt_length")
        _one_of(self, method=Method, prompt_start=Literal["sample", "first"])
        _instance(self, skip=bool, contextualizer=ContextualizerConfig, quantizer=QuantizerConfig)
        if self.method == "pt" and not self.skip:
            raise ValueError("VIPConfig.skip=False leaves method='pt' with nothing to read; skip must be True")

    @property
    def contextualizes(self) -> bool:
        """Whether prompt tokens depend on the input."""
        return self.method in ("vip", "vip-c")

    @property
    def quantizes(self) -> bool:
        """Whether prompt tokens are drawn from a codebook."""
        return self.method in ("vip", "vip-q")

    @property
    def quantizes_bottleneck(self) -> bool:
        """Whether codes lie in the contextualizer's bottleneck."""
        return self.method == "vip" and self.quantizer.space == "bottleneck"

    @classmethod
    def paper(cls, *, prompt_length: int = 100) -> "VIPConfig":
        """The setting of the paper's release (its only configuration file), with K = 10·P.

        Two things differ. `ema="mean"` is the update that its ancestors (VQ-VAE, QT) define and the release meant, and
        `evaluation="expected"` is deterministic, where the release draws codes in evaluation too. `dataclasses.replace` them
        with `"reference"` and `"sample"` for the released arithmetic.
        """
        return cls(
            prompt_length=prompt_length,
            prompt_start="first",
            contextualizer=ContextualizerConfig(width=32, feedforward=64, dropout=0.1, norm="post", activation="relu"),
            quantizer=QuantizerConfig(
                codes=10 * prompt_length,
                space="embedding",
                temperature=100.0,
                decay=0.99,
                warmup_steps=0,
                revive_below=0.0,
                start_norm=100.0,
            ),
        )
