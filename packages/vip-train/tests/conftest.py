"""A corpus, a backbone pretrained on it and a small task, made once; and how tests start programs."""

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# Read when huggingface_hub is imported: nothing here may reach a network.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from vip_core import ContextualizerConfig, QuantizerConfig, VIPConfig, VIPPrompt
from vip_train.adapter import read_adapter_config
from vip_train.backbones import Backbone, load_backbone
from vip_train.config import OptimizerConfig, TrainConfig
from vip_train.data import encode_answers, encode_sources
from vip_train.model import VIPModel
from vip_train.pretrain.loop import PretrainConfig, ShapeConfig, pretrain

# Everything here is small, and the order of a sum, so its last bit, depends on the number of threads.
torch.set_num_threads(1)

RUN = Path(__file__).parent.parent / "run.py"
SYLLABLES = ("ba", "ke", "lo", "mi", "tu", "ra", "sen", "dor", "vil", "nak", "oth", "ip")
LABELS = ("entailment", "contradiction", "neutral")
CONTEXTUALIZER = ContextualizerConfig(width=8, layers=1, heads=2, feedforward=16)
QUANTIZER = QuantizerConfig(codes=7, draws=4, warmup_steps=0)
SMALL = VIPConfig(prompt_length=3, contextualizer=CONTEXTUALIZER, quantizer=QUANTIZER)

# Tests are no package, so what they share is loaded by its path.
spec = importlib.util.spec_from_file_location("vip_train_test_hub_server", Path(__file__).with_name("hub_server.py"))
assert spec is not None
assert spec.loader is not None
hub_server = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hub_server)
hub = hub_server.hub


def sentences(count: int, *, seed: int) -> list[str]:
    """Sentences of invented words, the same for the same seed."""
    rng = random.Random(seed)
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(400)]
    return [" ".join(rng.choices(words, k=rng.randint(4, 14))).capitalize() + "." for _ in range(count)]


@pytest.fixture(autouse=True)
def _same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts from the same randomness, and on the CPU also where there is a GPU, whose sums have other last bits."""
    torch.manual_seed(0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small text file, one paragraph a line."""
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("".join(f"{sentence}\n" for sentence in sentences(600, seed=0)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def shape() -> ShapeConfig:
    """The size of the backbone that tests train and use."""
    return ShapeConfig(vocabulary=300, sentinels=8, width=32, heads=2, feedforward=64, encoder_layers=1, decoder_layers=1)


@pytest.fixture(scope="session")
def pretraining(corpus: Path, shape: ShapeConfig) -> Callable[..., PretrainConfig]:
    """Settings of a short pretraining run; `output` has to be given."""
    plain = {"corpus": corpus, "shape": shape, "span_steps": 6, "prefix_steps": 6, "batch_size": 4, "window": 24}
    return lambda **values: PretrainConfig(**plain | values)


@pytest.fixture(scope="session")
def tiny_backbone(pretraining: Callable[..., PretrainConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pretrained T5 of 32 dimensions."""
    return pretrain(pretraining(output=tmp_path_factory.mktemp("backbone") / "tiny"))


@pytest.fixture(scope="session")
def backbone(tiny_backbone: Path) -> Backbone:
    """That T5, loaded. Shared by all tests: who changes it takes a copy."""
    return load_backbone(str(tiny_backbone))


@pytest.fixture
def talkative(tiny_backbone: Path) -> Backbone:
    """The same shape with random weights, which writes longer and more various text than twelve steps of training teach."""
    found = load_backbone(str(tiny_backbone))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in found.model.parameters():
            if weight.ndim == 2:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    return found


@pytest.fixture
def build(backbone: Backbone) -> Callable[..., VIPModel]:
    """Makes a model in evaluation around the shared backbone; `start` seeds its prompt, other values go to its VIPConfig."""

    def model(start: int = 0, **values: object) -> VIPModel:
        torch.manual_seed(start)
        config = VIPConfig(**{"prompt_length": 3, "contextualizer": CONTEXTUALIZER, "quantizer": QUANTIZER} | values)  # type: ignore[arg-type]
        return VIPModel(backbone.model, VIPPrompt(config, backbone.model.get_input_embeddings().weight)).eval()

    return model


@pytest.fixture
def trained() -> Callable[..., VIPModel]:
    """Moves every tensor of a model's prompt from where it starts, as training would."""

    def move(model: VIPModel, seed: int = 5) -> VIPModel:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for tensor in model.prompt.state_dict().values():
                if tensor.is_floating_point():
                    tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator))
                else:
                    tensor.add_(11)
        return model

    return move


@pytest.fixture
def saved(build: Callable[..., VIPModel], trained: Callable[..., VIPModel], backbone: Backbone, tmp_path: Path) -> Path:
    """The folder of a whole adapter."""
    facts = {"backbone": backbone.name, "task": "superglue/cb", "answers": ("true", "false"), "max_source_length": 48}
    trained(build()).save_pretrained(tmp_path / "adapter", **facts)
    return tmp_path / "adapter"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A PEFT folder as PEFT lays it out: ten rows, of which an encoder reads five."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    save_file({"prompt_embeddings": torch.randn(10, 32)}, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "PROMPT_TUNING",
        "task_type": "SEQ_2_SEQ_LM",
        "base_model_name_or_path": "t5",
        "num_virtual_tokens": 5,
        "num_transformer_submodules": 2,
        "token_dim": 32,
        "prompt_tuning_init": "RANDOM",
        "some_field_of_tomorrow": None,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Four source texts of different lengths."""
    return sorted(sentences(4, seed=1), key=len)


@pytest.fixture
def source(backbone: Backbone, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Token ids and mask of four texts of different lengths."""
    found = encode_sources(texts, backbone.tokenizer, 480)
    assert (found.attention_mask == 0).any()
    return found.input_ids, found.attention_mask


@pytest.fixture
def labels(backbone: Backbone) -> Tensor:
    """Targets of those texts, of different lengths."""
    return encode_answers(["ba", "milotura", "ke lo", "ba"], backbone.tokenizer)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the official layout of SuperGLUE with a CB of 30 training and 11 validation rows."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "CB").mkdir()
    rng = random.Random(2)
    for name, count in (("train", 30), ("val", 11)):
        rows = [
            {"premise": premise, "hypothesis": hypothesis, "label": rng.choice(LABELS), "idx": number}
            for number, (premise, hypothesis) in enumerate(
                zip(sentences(count, seed=len(name)), sentences(count, seed=9), strict=True)
            )
        ]
        (folder / "CB" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture
def settings(data: Path, tiny_backbone: Path) -> Callable[..., TrainConfig]:
    """Settings of a short training run on that CB; `output` has to be given, values of the optimizer by their own names."""
    optimizer_fields = OptimizerConfig.__dataclass_fields__

    def config(**values: object) -> TrainConfig:
        optimizer = {"steps": 4, "batch_size": 8, "evaluate_every": 2}
        optimizer |= {name: values.pop(name) for name in list(values) if name in optimizer_fields}  # type: ignore[misc]
        plain = {"task": "superglue/cb", "data_dir": data, "backbone": str(tiny_backbone), "vip": SMALL}
        return TrainConfig(**plain | values, optimizer=OptimizerConfig(**optimizer))  # type: ignore[arg-type]

    return config


@pytest.fixture(scope="session")
def flags(data: Path, tiny_backbone: Path) -> list[str]:
    """The same run as flags of the command line, without --output."""
    return [
        *("--task", "superglue/cb", "--data-dir", str(data), "--backbone", str(tiny_backbone)),
        *("--vip.prompt-length", "3", "--vip.contextualizer.width", "8", "--vip.contextualizer.layers", "1"),
        *("--vip.contextualizer.heads", "2", "--vip.contextualizer.feedforward", "16"),
        *("--vip.quantizer.codes", "7", "--vip.quantizer.draws", "4", "--vip.quantizer.warmup-steps", "2"),
        *("--optimizer.steps", "6", "--optimizer.batch-size", "8", "--optimizer.evaluate-every", "3"),
    ]


@pytest.fixture
def real_data() -> Path:
    """The folder of the published data sets."""
    if "VIP_DATA_DIR" not in os.environ:
        pytest.skip("VIP_DATA_DIR is not set")
    return Path(os.environ["VIP_DATA_DIR"])


Execute = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def _operators(request: pytest.FixtureRequest) -> None:
    """DeepSpeed's operator for CPUs, compiled before any test has a limit: a build that is killed leaves a lock all hang on."""
    wanted = any(item.get_closest_marker("deepspeed") for item in request.session.items)
    if wanted and shutil.which("g++") and importlib.util.find_spec("deepspeed"):
        alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
        script = "import deepspeed; deepspeed.init_distributed(dist_backend='gloo')"
        environment = os.environ | alone | {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True)


@pytest.fixture(scope="session")
def execute() -> Execute:
    """Runs a program offline, on one thread and no GPU. After `timeout` seconds all it started is killed and the test fails."""

    def run(*command: object, timeout: float = 240, **environment: str) -> subprocess.CompletedProcess[str]:
        # The launchers look for programs on the PATH: let them find those of this interpreter first.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        whole = (
            os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PATH": path} | environment
        )
        arguments = [str(part) for part in command]
        with subprocess.Popen(
            arguments, env=whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            try:
                said, complained = process.communicate(timeout=timeout)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(arguments, process.returncode, said, complained)

    return run


@pytest.fixture
def check_run(backbone: Backbone) -> Callable[[Path], None]:
    """Makes sure that the run of `flags` left a whole and small output, alone in its parent, with codes that moved."""

    def check(folder: Path) -> None:
        assert {path.name for path in folder.parent.iterdir()} == {folder.name}, "only one process wrote"
        assert {path.name for path in folder.iterdir()} == {
            "adapter",
            "config.yaml",
            "environment.json",
            "metrics.jsonl",
            "results.json",
        }
        assert sum(path.stat().st_size for path in (folder / "adapter").iterdir()) < 2_000_000
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["step"] for line in lines] == [3, 6]
        state = load_file(folder / "adapter" / "adapter_model.safetensors")
        assert int(state["quantizer.codebook.steps"]) == 6
        codes = state["quantizer.codebook.code_KD"]
        assert codes.dtype == torch.float32
        torch.manual_seed(0)
        vip = read_adapter_config(folder / "adapter").vip
        start = VIPPrompt(vip, backbone.model.get_input_embeddings().weight).state_dict()["quantizer.codebook.code_KD"]
        assert not torch.isclose(codes, start).all(1).any()

    return check
