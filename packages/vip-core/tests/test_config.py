"""Settings: the paper's values, the defaults, and errors that name field, value and what is allowed."""

import ast
import dataclasses
import inspect
import itertools
from typing import Any

import pytest
from vip_core import ContextualizerConfig, QuantizerConfig, VIPConfig
from vip_core import config as config_module

CONFIGS = [ContextualizerConfig, QuantizerConfig, VIPConfig]


def test_paper_has_the_values_of_the_release() -> None:
    assert VIPConfig.paper() == VIPConfig(
        prompt_length=100,
        method="vip",
        skip=True,
        prompt_start="first",
        contextualizer=ContextualizerConfig(
            width=32, layers=2, heads=4, feedforward=64, dropout=0.1, norm="post", activation="relu"
        ),
        quantizer=QuantizerConfig(
            codes=1000,
            space="embedding",
            draws=10,
            temperature=100.0,
            commitment=0.1,
            decay=0.99,
            ema="mean",
            warmup_steps=0,
            revive_below=0.0,
            start_norm=100.0,
            evaluation="expected",
        ),
    )


@pytest.mark.parametrize("length", [1, 7, 100])
def test_paper_has_ten_codes_per_prompt_token(length: int) -> None:
    config = VIPConfig.paper(prompt_length=length)
    assert (config.prompt_length, config.quantizer.codes) == (length, 10 * length)


def test_reference_average_is_one_replacement_away() -> None:
    paper = VIPConfig.paper()
    replaced = dataclasses.replace(paper, quantizer=dataclasses.replace(paper.quantizer, ema="reference"))
    assert replaced.quantizer.ema == "reference"
    assert dataclasses.replace(replaced.quantizer, ema="mean") == paper.quantizer


@pytest.mark.parametrize(
    ("method", "contextualizes", "quantizes"),
    [("vip", True, True), ("vip-c", True, False), ("vip-q", False, True), ("pt", False, False)],
)
def test_a_method_says_which_parts_it_has(method: Any, contextualizes: bool, quantizes: bool) -> None:
    config = VIPConfig(method=method)
    assert (config.contextualizes, config.quantizes) == (contextualizes, quantizes)
    assert config.quantizes_bottleneck == (method == "vip")
    assert not VIPConfig(method=method, quantizer=QuantizerConfig(space="embedding")).quantizes_bottleneck


@pytest.mark.parametrize(
    ("config", "field", "value", "allowed"),
    [
        (ContextualizerConfig, "width", 0, "at least 1"),
        (ContextualizerConfig, "layers", 0, "at least 1"),
        (ContextualizerConfig, "layers", 1.5, "at least 1"),
        (ContextualizerConfig, "heads", -4, "at least 1"),
        (ContextualizerConfig, "heads", True, "at least 1"),
        (ContextualizerConfig, "feedforward", "128", "at least 1"),
        (ContextualizerConfig, "dropout", 1.0, "[0, 1)"),
        (ContextualizerConfig, "dropout", -0.1, "[0, 1)"),
        (ContextualizerConfig, "dropout", float("nan"), "[0, 1)"),
        (ContextualizerConfig, "dropout", "0.1", "[0, 1)"),
        (ContextualizerConfig, "norm", "rms", "'pre', 'post'"),
        (ContextualizerConfig, "activation", "tanh", "'gelu', 'relu'"),
        (QuantizerConfig, "codes", 0, "at least 1"),
        (QuantizerConfig, "codes", 2.5, "at least 1"),
        (QuantizerConfig, "codes", None, "at least 1"),
        (QuantizerConfig, "draws", 0, "at least 1"),
        (QuantizerConfig, "draws", 1.5, "at least 1"),
        (QuantizerConfig, "temperature", 0.0, "'auto'"),
        (QuantizerConfig, "temperature", -1.0, "'auto'"),
        (QuantizerConfig, "temperature", "hot", "'auto'"),
        (QuantizerConfig, "temperature", True, "'auto'"),
        (QuantizerConfig, "temperature", float("nan"), "'auto'"),
        (QuantizerConfig, "temperature", float("inf"), "'auto'"),
        (QuantizerConfig, "commitment", -0.1, "at least 0"),
        (QuantizerConfig, "commitment", "1e-1", "at least 0"),
        (QuantizerConfig, "commitment", float("nan"), "at least 0"),
        (QuantizerConfig, "commitment", float("inf"), "at least 0"),
        (QuantizerConfig, "decay", 0.0, "(0, 1)"),
        (QuantizerConfig, "decay", 1.0, "(0, 1)"),
        (QuantizerConfig, "decay", "0.99", "(0, 1)"),
        (QuantizerConfig, "space", "hidden", "'bottleneck', 'embedding'"),
        (QuantizerConfig, "ema", "median", "'mean', 'reference'"),
        (QuantizerConfig, "warmup_steps", -1, "at least 0"),
        (QuantizerConfig, "warmup_steps", 0.5, "at least 0"),
        (QuantizerConfig, "revive_below", -0.1, "at least 0"),
        (QuantizerConfig, "revive_below", 1.0, "under 1"),
        (QuantizerConfig, "start_norm", 0, "'auto'"),
        (QuantizerConfig, "start_norm", "big", "'auto'"),
        (QuantizerConfig, "start_norm", float("inf"), "'auto'"),
        (QuantizerConfig, "evaluation", "mean", "'expected', 'argmax', 'sample'"),
        (VIPConfig, "prompt_length", 0, "at least 1"),
        (VIPConfig, "prompt_length", 2.5, "at least 1"),
        (VIPConfig, "method", "VIP", "'vip', 'vip-c', 'vip-q', 'pt'"),
        (VIPConfig, "method", ["vip"], "'vip', 'vip-c', 'vip-q', 'pt'"),
        (VIPConfig, "prompt_start", "text", "'sample', 'first'"),
        # Anything but an empty string is true, so an unchecked "false" read from a file would switch the skip on.
        (VIPConfig, "skip", "false", "True"),
        # A plain mapping, as read from a file, would pass here and fail far away, or hide an unknown key.
        (VIPConfig, "contextualizer", {"width": 8}, "ContextualizerConfig"),
        (VIPConfig, "quantizer", {"codez": 8}, "QuantizerConfig"),
    ],
)
def test_an_error_names_field_value_and_what_is_allowed(config: Any, field: str, value: object, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"^{config.__name__}.{field}=") as error:
        config(**{field: value})
    assert repr(value) in str(error.value)
    assert allowed in str(error.value)


def test_width_must_be_divisible_by_heads() -> None:
    with pytest.raises(ValueError, match=r"ContextualizerConfig\.width=10 .*heads=4"):
        ContextualizerConfig(width=10)


def test_prompt_tuning_without_its_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match=r"VIPConfig\.skip=False .*method='pt'.*True"):
        VIPConfig(method="pt", skip=False)


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (QuantizerConfig, {"temperature": 3}),
        (QuantizerConfig, {"temperature": 1e-3, "start_norm": 1}),
        (QuantizerConfig, {"codes": 1, "draws": 1, "warmup_steps": 0, "revive_below": 0, "commitment": 0}),
        (ContextualizerConfig, {"dropout": 0}),
        (ContextualizerConfig, {"width": 4, "heads": 4, "layers": 1, "feedforward": 1}),
    ],
)
def test_limits_themselves_are_allowed(config: Any, values: dict[str, object]) -> None:
    made = config(**values)
    assert {name: getattr(made, name) for name in values} == values


@pytest.mark.parametrize("config", CONFIGS)
def test_unknown_keys_positions_and_changes_are_errors(config: Any) -> None:
    with pytest.raises(TypeError, match="codez"):
        config(codez=1)
    with pytest.raises(TypeError, match="positional"):
        config(1)
    name = dataclasses.fields(config)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config(), name, 2)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_dozen_fields_at_most_and_a_docstring_under_each(config: Any) -> None:
    fields = [field.name for field in dataclasses.fields(config)]
    tree = ast.parse(inspect.getsource(config_module))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == config.__name__)
    documented = [
        node.target.id
        for node, after in itertools.pairwise(body)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)
    ]
    assert documented == fields
    assert 0 < len(fields) <= 12
