"""Which engine runs, what it optimises, plain torch against steps by hand; test_deepspeed.py and test_torchrun.py have more."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from vip_train.backbones import Backbone, load_backbone
from vip_train.config import EngineConfig, OptimizerConfig
from vip_train.data import Batch, encode_answers, encode_sources
from vip_train.engine import TorchEngine, build_engine, check_engine, uses_deepspeed
from vip_train.errors import UserError
from vip_train.model import VIPModel
from vip_train.schedule import ScheduleConfig
from vip_train.world import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
Build = Callable[..., VIPModel]


@pytest.fixture
def batch(backbone: Backbone, texts: list[str]) -> Batch:
    sources = encode_sources(texts, backbone.tokenizer, 480)
    return Batch(sources.input_ids, sources.attention_mask, encode_answers(["ba", "ke"] * 2, backbone.tokenizer))


@pytest.mark.parametrize(
    ("name", "launched", "expected"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("torch", True, False),
        ("torch", False, False),
        ("deepspeed", True, True),
        ("deepspeed", False, True),
    ],
)
def test_auto_is_deepspeed_when_its_command_started_the_process(name: Any, launched: bool, expected: bool) -> None:
    assert uses_deepspeed(EngineConfig(name=name), launched_by_deepspeed=launched) is expected


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_adafactor_with_partitions_is_refused_with_the_reason(stage: int, build: Build) -> None:
    with pytest.raises(UserError, match=rf"^optimizer.name=adafactor: needs engine.zero_stage=0\W+at {stage} ZeRO flattens"):
        build_engine(build(), OptimizerConfig(name="adafactor"), EngineConfig(zero_stage=stage), ALONE, deepspeed=True)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_adafactor_in_plain_torch_is_fine_whatever_the_stage(stage: int, build: Build) -> None:
    build_engine(build(), OptimizerConfig(name="adafactor"), EngineConfig(zero_stage=stage), ALONE, deepspeed=False)


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The parameter groups of every optimizer that is made, with its class."""
    found: list[dict[str, Any]] = []
    real = TorchEngine.__init__

    def spy(self: TorchEngine, model: VIPModel, optimizer: torch.optim.Optimizer, *rest: Any) -> None:
        found.extend({"class": type(optimizer), **group} for group in optimizer.param_groups)
        real(self, model, optimizer, *rest)

    monkeypatch.setattr(TorchEngine, "__init__", spy)
    return found


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("adafactor", torch.optim.Adafactor)])
def test_prompt_and_contextualizer_learn_at_their_own_rates(
    name: Any, kind: type, build: Build, groups: list[dict[str, Any]]
) -> None:
    model = build()
    config = OptimizerConfig(name=name, prompt_learning_rate=0.5, contextualizer_learning_rate=0.25)
    build_engine(model, config, EngineConfig(), ALONE, deepspeed=False)
    assert [(group["name"], group["lr"], group["class"]) for group in groups] == [
        ("prompt", 0.5, kind),
        ("contextualizer", 0.25, kind),
    ]
    assert [group["weight_decay"] for group in groups] == [0.0, 0.0]
    held = [{id(parameter) for parameter in group["params"]} for group in groups]
    assert held[0] == {id(model.prompt.prompt_PD)}
    assert held[0] | held[1] == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}


@pytest.mark.parametrize("method", ["pt", "vip-q"])
def test_without_a_contextualizer_there_is_one_group(method: str, build: Build, groups: list[dict[str, Any]]) -> None:
    build_engine(build(method=method), OptimizerConfig(), EngineConfig(), ALONE, deepspeed=False)
    assert [group["name"] for group in groups] == ["prompt"]


@pytest.mark.parametrize("clip_norm", [0.0, 1e-3, 1e3])
def test_steps_equal_those_by_hand(clip_norm: float, build: Build, batch: Batch) -> None:
    one, other = build(method="vip-c").train(), build(method="vip-c").train()
    config = OptimizerConfig(clip_norm=clip_norm, prompt_learning_rate=0.1, contextualizer_learning_rate=0.01)
    engine = build_engine(one, config, EngineConfig(), ALONE, deepspeed=False)
    optimizer = torch.optim.AdamW(
        [
            {"params": [other.prompt.prompt_PD], "lr": 0.1},
            {"params": other.prompt.contextualizer.parameters(), "lr": 0.01},  # type: ignore[union-attr]
        ],
        weight_decay=0.0,
    )
    for _ in range(3):
        engine.step(engine.forward(*batch).loss)
        other(*batch).loss.backward()
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(other.prompt.parameters(), clip_norm)
        optimizer.step()
        optimizer.zero_grad()
    state = other.prompt.state_dict()
    for name, value in one.prompt.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0, msg=name)
    assert not torch.equal(one.prompt.prompt_PD, build(method="vip-c").prompt.prompt_PD)


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_a_schedule_reaches_the_steps_of_both_optimizers(name: Any, build: Build, batch: Batch) -> None:
    """Against torch's own optimizer and its own scheduler, bit for bit."""
    one, other = build(method="vip-c").train(), build(method="vip-c").train()
    schedule = ScheduleConfig(name="linear", warmup_steps=2)
    rates = {"prompt_learning_rate": 0.1, "contextualizer_learning_rate": 0.01}
    config = OptimizerConfig(name=name, steps=5, clip_norm=0.0, schedule=schedule, **rates)
    engine = build_engine(one, config, EngineConfig(), ALONE, deepspeed=False)
    kind: Any = torch.optim.AdamW if name == "adamw" else torch.optim.Adafactor
    optimizer = kind(
        [{"params": [other.prompt.prompt_PD], "lr": 0.1}, {"params": other.prompt.contextualizer_parameters(), "lr": 0.01}],
        weight_decay=0.0,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda before: schedule.factor(before + 1, 5))
    for step in range(1, 6):
        before = one.prompt.prompt_PD.detach().clone()
        set_rates = engine.set_learning_rates(config.learning_rates(step))
        assert list(set_rates.values()) == [group["lr"] for group in optimizer.param_groups]
        engine.step(engine.forward(*batch).loss)
        assert torch.equal(before, one.prompt.prompt_PD) is (step == 5), "the last rate is zero"
        other(*batch).loss.backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        for key, value in one.prompt.state_dict().items():
            assert torch.equal(value, other.prompt.state_dict()[key]), (step, key)


def test_adafactor_takes_steps_that_shrink_with_time_and_grow_with_the_parameter() -> None:
    """What OptimizerConfig says of torch's; if torch changes, what it says has to."""
    for scale, steps in ((5.0, 30), (0.0, 3)):
        parameter = torch.nn.Parameter(scale * torch.ones(4, 6))
        optimizer = torch.optim.Adafactor([parameter], lr=0.3)
        for step in range(1, steps + 1):
            before = parameter.detach().clone()
            size = max(1e-3, float(before.square().mean().sqrt()))
            parameter.grad = torch.ones(4, 6)
            optimizer.step()
            moved = float((parameter.detach() - before).abs().mean())
            assert moved == pytest.approx(min(0.3, step**-0.5) * size, rel=1e-3)


def test_a_step_leaves_no_gradient_and_moves_the_codebook_once(build: Build, batch: Batch) -> None:
    model = build().train()
    engine = build_engine(model, OptimizerConfig(), EngineConfig(), ALONE, deepspeed=False)
    engine.step(engine.forward(*batch).loss)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.prompt.quantizer is not None
    assert model.prompt.quantizer.codebook.steps == 1


def test_a_learning_rate_of_zero_keeps_its_group(build: Build, batch: Batch) -> None:
    model = build(method="vip-c").train()
    before = {name: value.clone() for name, value in model.prompt.state_dict().items()}
    engine = build_engine(model, OptimizerConfig(prompt_learning_rate=0.0), EngineConfig(), ALONE, deepspeed=False)
    engine.step(engine.forward(*batch).loss)
    assert torch.equal(model.prompt.prompt_PD, before["prompt_PD"])
    assert not torch.equal(model.prompt.state_dict()["contextualizer.up.weight"], before["contextualizer.up.weight"])


# --- memory and speed ---


@pytest.fixture
def pair(build: Build, tiny_backbone: Path) -> tuple[VIPModel, VIPModel]:
    """Twice the same model, each around a backbone of its own."""
    one, other = (VIPModel(load_backbone(str(tiny_backbone)).model, build().prompt).train() for _ in range(2))
    return one, other


def after_steps(model: VIPModel, batch: Batch, **values: Any) -> dict[str, torch.Tensor]:
    """The prompt after three steps of an engine with these settings."""
    engine = build_engine(model, OptimizerConfig(), EngineConfig(**values), ALONE, deepspeed=False)
    for step in range(3):
        torch.manual_seed(step)
        engine.step(engine.forward(*batch).loss)
    return {name: value.detach().clone() for name, value in model.prompt.state_dict().items()}


def test_recomputing_is_one_setting_and_changes_nothing(pair: tuple[VIPModel, VIPModel], batch: Batch) -> None:
    expected, found = after_steps(pair[0], batch), after_steps(pair[1], batch, gradient_checkpointing=True)
    assert pair[1].backbone.training
    assert not pair[0].backbone.training
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++, with which torch.compile makes its kernels")
# torch hides the first by a hook that is not asked where warnings are errors; the second is about a part of torch itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
def test_a_compiled_step_is_the_plain_one_within_rounding(pair: tuple[VIPModel, VIPModel], batch: Batch) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    expected, found = after_steps(pair[0], batch), after_steps(pair[1], batch, compile=True)
    torch._dynamo.reset()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert found.keys() == expected.keys()
    for name, value in found.items():
        if not name.endswith("self_attn.in_proj_bias"):  # the bias of keys: see test_deepspeed.py
            torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4, msg=name)


def test_compilation_without_a_compiler_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"^engine\.compile: needs the C\+\+ compiler no-such-compiler, which is not installed"):
        check_engine(OptimizerConfig(), EngineConfig(compile=True), deepspeed=False)


def test_compilation_of_a_sharded_backbone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "c++"
    compiler.write_text("")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    check_engine(OptimizerConfig(), EngineConfig(compile=True, zero_stage=3), deepspeed=False)
    check_engine(OptimizerConfig(), EngineConfig(compile=True, zero_stage=2), deepspeed=True)
    with pytest.raises(UserError, match=r"^engine\.compile: needs engine\.zero_stage 0, 1 or 2"):
        check_engine(OptimizerConfig(), EngineConfig(compile=True, zero_stage=3), deepspeed=True)
