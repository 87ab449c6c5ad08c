"""Two processes on CPUs, started by the `deepspeed` command: engines against one process alone, and whole runs.

What each process does for the comparison of engines is in ranks.py.
"""

import importlib.util
import itertools
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from vip_train.world import World

RUN = Path(__file__).parent.parent / "run.py"
VICTIM = Path(__file__).with_name("victim.py")
LIMIT = 500  # seconds for whatever starts processes: collectives wait for ever
RANKS = 2
NO_DEEPSPEED = shutil.which("g++") is None or importlib.util.find_spec("deepspeed") is None
pytestmark = [
    pytest.mark.deepspeed,
    pytest.mark.skipif(NO_DEEPSPEED, reason="needs deepspeed, and g++ to compile its operators"),
]
Execute = Callable[..., CompletedProcess[str]]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def deepspeed(execute: Execute) -> Callable[..., CompletedProcess[str]]:
    """Runs a script by the `deepspeed` command in two processes on CPUs."""

    def run(*arguments: object) -> CompletedProcess[str]:
        launcher = ("deepspeed", "--num_accelerators", RANKS, "--master_addr", "127.0.0.1", "--master_port", free_port())
        return execute(*launcher, *arguments, timeout=LIMIT, DS_ACCELERATOR="cpu")

    return run


# --- engines against one process ---


@pytest.fixture(scope="module")
def worker() -> ModuleType:
    """ranks.py as a module, for what one process alone would do."""
    spec = importlib.util.spec_from_file_location("vip_train_test_ranks", Path(__file__).with_name("ranks.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(
    deepspeed: Callable[..., CompletedProcess[str]], tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What each process found. They start once, because importing is most of what they do."""
    folder = tmp_path_factory.mktemp("ranks")
    run = deepspeed(Path(__file__).with_name("ranks.py"), tiny_backbone, folder)
    assert run.returncode == 0, run.stdout + run.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


ALONE = World(rank=0, size=1, device=torch.device("cpu"))
LIKE_ALONE: dict[str, dict[str, Any]] = {
    "torch": {},
    "zero 0": {},
    "zero 1": {},
    "zero 2": {},
    "zero 3": {},
    "zero 2, clip 0": {"clip": 0.0},
    "zero 0, adafactor": {"optimizer": "adafactor"},
    **{f"{name}, parts": {} for name in ("torch", "zero 0", "zero 1", "zero 2", "zero 3", "zero 2, cpu")},
    **{f"{name}, recomputed": {} for name in ("torch", "zero 2", "zero 3")},
    **{
        f"{name}, {precision}": {"precision": precision}
        for name in ("torch", "zero 2")
        for precision in ("int8", *(["nf4"] if importlib.util.find_spec("bitsandbytes") else []))
    },
}
CODEBOOKS = [
    "codebook, torch",
    *(f"codebook, zero {stage}, bf16" for stage in range(4)),
    *(f"codebook, {name}, parts" for name in ("torch", "zero 2", "zero 3")),
]


def without_keys_bias(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The bias of attention's keys shifts all scores alike: its gradient is rounding noise, of which AdamW makes full steps."""
    found = dict(state)
    for name in [name for name in found if name.endswith("self_attn.in_proj_bias")]:
        query, _, value = found[name].chunk(3)
        found[name] = torch.cat([query, value])
    return found


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    one, other = without_keys_bias(one), without_keys_bias(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_processes_know_each_other(found: list[dict[str, Any]]) -> None:
    for rank in range(RANKS):
        assert found[rank]["world"] == {"rank": rank, "size": RANKS, "sum": [2.0, 1.0]}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")  # bitsandbytes asks torch for it
@pytest.mark.parametrize("name", LIKE_ALONE)
def test_an_engine_takes_the_steps_that_one_process_would(
    name: str, found: list[dict[str, Any]], worker: ModuleType, tiny_backbone: Path
) -> None:
    alone = worker.learn(tiny_backbone, ALONE, stage=None, **LIKE_ALONE[name])
    for rank in found:
        assert len(rank[name]["states"]) == len(alone["states"])
        for state, expected in zip(rank[name]["states"], alone["states"], strict=True):
            assert_close(state, expected)


@pytest.mark.parametrize("name", LIKE_ALONE)
def test_learning_rates_reach_the_optimizer_that_steps(name: str, found: list[dict[str, Any]]) -> None:
    """They rise over two steps and fall to zero in the last."""
    states = found[0][name]["states"]
    for part in ("prompt_PD", "contextualizer.up.weight"):
        moved = [float((later[part] - before[part]).abs().max()) for before, later in itertools.pairwise(states)]
        assert moved[-1] == 0, part
        assert all(moved[:-1]), part


def test_clipping_was_put_to_the_test(found: list[dict[str, Any]]) -> None:
    clipped, free = (found[0][name]["states"][-1]["contextualizer.up.weight"] for name in ("zero 2", "zero 2, clip 0"))
    assert not torch.allclose(clipped, free, rtol=1e-3)


@pytest.mark.parametrize("name", CODEBOOKS)
def test_processes_hold_one_prompt_in_fp32_whose_codes_move(name: str, found: list[dict[str, Any]]) -> None:
    first, second = (rank[name]["states"] for rank in found)
    assert set(found[0][name]["optimizer"].values()) == {"torch.float32"}
    for one, other in zip(first, second, strict=True):
        for tensor_name, value in one.items():
            assert torch.equal(value, other[tensor_name]), tensor_name
            assert value.dtype in (torch.float32, torch.int64), tensor_name
    codes = [state["quantizer.codebook.code_KD"] for state in first]
    assert torch.equal(codes[0], codes[1]), "in the warm-up codes stay"
    for earlier, later in itertools.pairwise(codes[1:]):
        assert not torch.equal(earlier, later)
    assert [int(state["quantizer.codebook.steps"]) for state in first] == [1, 2, 3, 4, 5], "one update per step"


def test_the_backbone_keeps_its_values_and_its_dtype(found: list[dict[str, Any]]) -> None:
    for rank in found:
        for name in (*LIKE_ALONE, *CODEBOOKS):
            assert rank[name]["backbone kept"], name
            assert rank[name]["sharded"] is ("zero 3" in name), name


def test_at_stage_3_uneven_ranks_evaluate_alike(found: list[dict[str, Any]]) -> None:
    """Five examples one by one: the second process has nothing in the last round, and a forward is a collective."""
    assert found[0]["zero 3"]["uneven"] == found[1]["zero 3"]["uneven"]
    assert found[0]["zero 3"]["uneven"]["nll"] > 0


def test_what_is_trained_is_in_step_at_stage_3_and_starts_from_the_vocabulary(found: list[dict[str, Any]]) -> None:
    for name, value in found[0]["zero 3"]["states"][0].items():
        assert value.numel() > 0, name
        assert torch.equal(value, found[1]["zero 3"]["states"][0][name]), name


def test_an_uneven_evaluation_is_that_of_one_process(
    found: list[dict[str, Any]], worker: ModuleType, tiny_backbone: Path
) -> None:
    expected = worker.measure(tiny_backbone, ALONE)
    for rank in found:
        assert rank["evaluation"] == pytest.approx(expected, rel=1e-5)
    assert found[0]["evaluation"] == found[1]["evaluation"]


# --- whole runs ---

LOGITS = """
import sys, torch
from pathlib import Path
from vip_train import load_adapter
from vip_train.data import encode_answers, encode_sources
adapter = load_adapter(Path(sys.argv[1]))
sources = encode_sources(["Bake milo.", "Tura ke lo sendor."], adapter.tokenizer, 480)
labels = encode_answers(adapter.config.answers[:2], adapter.tokenizer)
with torch.no_grad():
    torch.save(adapter.model(sources.input_ids, sources.attention_mask, labels).logit_BTV, sys.argv[2])
"""


def test_a_run_leaves_an_adapter_that_reads_the_same_everywhere(
    deepspeed: Callable[..., CompletedProcess[str]],
    execute: Execute,
    flags: list[str],
    check_run: Callable[[Path], None],
    tmp_path: Path,
) -> None:
    run = deepspeed(RUN, *flags, "--output", tmp_path / "out" / "run")
    assert run.returncode == 0, run.stdout + run.stderr
    check_run(tmp_path / "out" / "run")
    assert run.stdout.count("DeepSpeed ZeRO 2, 2 processes on cpu") == 1
    assert run.stdout.count(f"adapter          {tmp_path / 'out' / 'run' / 'adapter'}") == 1, "one process prints"
    logits = []
    for number in range(2):
        adapter = tmp_path / "out" / "run" / "adapter"
        again = execute(sys.executable, "-c", LOGITS, adapter, tmp_path / f"{number}.pt", timeout=LIMIT)
        assert again.returncode == 0, again.stderr
        logits.append(torch.load(tmp_path / f"{number}.pt"))
    assert torch.isfinite(logits[0]).all()
    assert torch.equal(*logits)


def test_one_process_trains_twice_alike(execute: Execute, flags: list[str], tmp_path: Path) -> None:
    """DeepSpeed without a launcher, and what a first run must not leave behind in its process."""
    script = (
        "import sys\n"
        "from vip_train.cli import main\n"
        "sys.exit(any(main(['train', *sys.argv[2:], '--output', sys.argv[1] + name]) for name in ('one', 'two')))"
    )
    run = execute(
        sys.executable, "-c", script, f"{tmp_path}/", *flags, "--engine.name", "deepspeed", timeout=LIMIT, DS_ACCELERATOR="cpu"
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("DeepSpeed ZeRO 2, 1 process on cpu") == 2
    one, two = ((tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_killed_process_ends_the_run_with_a_reason(
    deepspeed: Callable[..., CompletedProcess[str]], flags: list[str], tmp_path: Path
) -> None:
    run = deepspeed(VICTIM, "die", *flags, "--checkpoint.every", 1, "--output", tmp_path / "run")
    assert run.returncode != 0
    assert "return code = -9" in run.stderr + run.stdout, "the launcher says of what a process died"
    assert "vip-train: process 0 lost another process" in run.stderr
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {"step-00000001", "step-00000002"}


def test_an_error_ends_all_processes(deepspeed: Callable[..., CompletedProcess[str]], flags: list[str], tmp_path: Path) -> None:
    run = deepspeed(RUN, *flags, "--output", tmp_path / "run", "--optimizer.batch-size", 7)
    assert run.returncode != 0
    assert "vip-train: optimizer.batch_size=7 must be divisible by the 2 processes" in run.stderr
    assert list(tmp_path.iterdir()) == []
