"""Adapter files: they bring back the very logits, hold little, never the backbone, and cost the user no other file."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from vip_core import VIPConfig, VIPPrompt
from vip_train.adapter import Adapter, load_adapter, read_adapter_config, save_adapter
from vip_train.backbones import Backbone, fingerprint
from vip_train.data import encode_answers, encode_sources
from vip_train.errors import UserError
from vip_train.model import VIPModel
from vip_train.pretrain.loop import ShapeConfig, build_model

METHODS = ["vip", "vip-c", "vip-q", "pt"]
CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "README.md"
FILES = {CONFIG, WEIGHTS, CARD}
Build = Callable[..., VIPModel]


def logits(model: VIPModel, backbone: Backbone, texts: list[str]) -> Tensor:
    sources = encode_sources(texts, backbone.tokenizer, 480)
    labels = encode_answers(["ba", "ke lo"] * 2, backbone.tokenizer)
    with torch.no_grad():
        found: Tensor = model(sources.input_ids, sources.attention_mask, labels).logit_BTV
    return found


@pytest.mark.parametrize("method", METHODS)
def test_every_method_comes_back(
    method: str, build: Build, trained: Build, backbone: Backbone, texts: list[str], tmp_path: Path
) -> None:
    model = trained(build(method=method))
    save_adapter(model, tmp_path / "adapter", backbone=backbone.name)
    torch.manual_seed(77)
    adapter = load_adapter(tmp_path / "adapter", backbone=backbone)
    assert isinstance(adapter, Adapter)
    assert adapter.model.prompt.config == model.prompt.config
    state = model.prompt.state_dict()
    assert adapter.model.prompt.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in adapter.model.prompt.state_dict().items())
    assert torch.equal(logits(adapter.model, backbone, texts), logits(model, backbone, texts))
    assert not any(module.training for module in adapter.model.modules())


def test_the_configuration_comes_back(saved: Path, build: Build, backbone: Backbone) -> None:
    config = read_adapter_config(saved)
    assert config.vip == build().prompt.config
    assert (config.backbone, config.backbone_fingerprint) == (backbone.name, fingerprint(backbone.model))
    assert (config.dim, config.task, config.answers, config.max_source_length) == (32, "superglue/cb", ("true", "false"), 48)


def test_every_setting_of_the_prompt_comes_back(backbone: Backbone, tmp_path: Path) -> None:
    config = VIPConfig.paper(prompt_length=4)
    model = VIPModel(backbone.model, VIPPrompt(config, backbone.model.get_input_embeddings().weight))
    save_adapter(model, tmp_path / "adapter", backbone=backbone.name)
    assert read_adapter_config(tmp_path / "adapter").vip == config


def test_the_backbone_is_found_by_its_recorded_name(saved: Path, texts: list[str], backbone: Backbone) -> None:
    adapter = load_adapter(saved)
    assert adapter.model.backbone is not backbone.model
    assert torch.equal(
        logits(adapter.model, backbone, texts), logits(load_adapter(saved, backbone=backbone).model, backbone, texts)
    )


def test_folders_may_be_named_by_text(build: Build, backbone: Backbone, tmp_path: Path) -> None:
    """As everybody calls it; a model's own methods take text as well."""
    folder = str(tmp_path / "adapter")
    save_adapter(build(), folder, backbone=backbone.name)
    assert load_adapter(folder, backbone=backbone).config.backbone == backbone.name


def test_a_loaded_adapter_is_saved_with_all_it_came_with(saved: Path, backbone: Backbone, tmp_path: Path) -> None:
    load_adapter(saved, backbone=backbone).save_pretrained(tmp_path / "again", results="better")
    assert read_adapter_config(tmp_path / "again") == read_adapter_config(saved)
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (saved / WEIGHTS).read_bytes()
    assert "better" in (tmp_path / "again" / CARD).read_text(encoding="utf-8")


def test_a_copy_of_the_backbone_elsewhere_will_do(saved: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_backbone, tmp_path / "moved")
    load_adapter(saved, backbone=str(tmp_path / "moved"))


def test_a_backbone_in_bf16_is_the_same_backbone(saved: Path) -> None:
    model = load_adapter(saved, precision="bf16").model
    assert {parameter.dtype for parameter in model.backbone.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.prompt.parameters()} == {torch.float32}


def test_logits_are_the_same_bits_in_a_new_process(
    saved: Path, texts: list[str], backbone: Backbone, tmp_path: Path, execute: Callable[..., object]
) -> None:
    script = (
        "import json, sys, torch\n"
        "from pathlib import Path\n"
        "from vip_train import load_adapter\n"
        "from vip_train.data import encode_answers, encode_sources\n"
        "adapter, texts = load_adapter(Path(sys.argv[1])), json.loads(sys.argv[2])\n"
        "sources = encode_sources(texts, adapter.tokenizer, 480)\n"
        "labels = encode_answers(['ba', 'ke lo'] * 2, adapter.tokenizer)\n"
        "with torch.no_grad():\n"
        "    torch.save(adapter.model(sources.input_ids, sources.attention_mask, labels).logit_BTV, sys.argv[3])\n"
    )
    run = execute(sys.executable, "-c", script, saved, json.dumps(texts), tmp_path / "logits.pt")
    assert run.returncode == 0, run.stderr  # type: ignore[attr-defined]
    here = logits(load_adapter(saved, backbone=backbone).model, backbone, texts)
    assert torch.equal(torch.load(tmp_path / "logits.pt"), here)


@pytest.mark.parametrize("method", METHODS)
def test_the_files_are_little_more_than_what_was_trained(method: str, build: Build, backbone: Backbone, tmp_path: Path) -> None:
    # Sizes as in real use, so that the header of the file counts for as little as it does there.
    model = build(
        method=method, **{"prompt_length": 100} | ({} if method == "pt" else {"contextualizer": VIPConfig().contextualizer})
    )
    save_adapter(model, tmp_path / "adapter", backbone=backbone.name)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "adapter").iterdir()}
    assert sizes.keys() == FILES
    state = sum(tensor.numel() * tensor.element_size() for tensor in model.prompt.state_dict().values())
    assert sizes[WEIGHTS] < 1.2 * state
    assert sum(sizes.values()) < 2_000_000
    assert sum(sizes.values()) - sizes[WEIGHTS] < 8_000


def test_the_default_prompt_on_the_default_backbone_is_under_two_megabytes(backbone: Backbone, tmp_path: Path) -> None:
    default = build_model(ShapeConfig())
    model = VIPModel(default, VIPPrompt(VIPConfig(), default.get_input_embeddings().weight))
    save_adapter(model, tmp_path / "adapter", backbone="bundled")
    assert sum(path.stat().st_size for path in (tmp_path / "adapter").iterdir()) < 2_000_000


def test_the_files_hold_no_tensor_of_the_backbone(saved: Path, backbone: Backbone, build: Build) -> None:
    state = load_file(saved / WEIGHTS)
    assert state.keys() == build().prompt.state_dict().keys()
    theirs = {tuple(tensor.shape): tensor for tensor in backbone.model.state_dict().values()}
    for name, tensor in state.items():
        other = theirs.get(tuple(tensor.shape))
        assert other is None or not torch.equal(other, tensor), name


def test_the_card_says_what_it_is_and_its_code_runs(saved: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    card = (saved / CARD).read_text(encoding="utf-8")
    assert f"frozen backbone `{backbone.name}`" in card
    assert "superglue/cb" in card
    assert "No results were recorded." in card
    code = "\n".join(re.findall(r"^    (.*)$", card, flags=re.MULTILINE))
    namespace: dict[str, object] = {}
    exec(code.replace("this folder", str(saved)), namespace)
    assert isinstance(namespace["model"], VIPModel)


@pytest.mark.parametrize(("name", "named"), [("google/t5-base-lm-adapt", True), ("bundled", False), ("./t5", False)])
def test_the_head_of_the_card_names_a_backbone_of_the_hub_only(name: str, named: bool, build: Build, tmp_path: Path) -> None:
    """The hub refuses a card whose base_model is not an id of its own."""
    save_adapter(build(), tmp_path / "adapter", backbone=name)
    _, head, _ = (tmp_path / "adapter" / CARD).read_text(encoding="utf-8").split("---\n")
    assert head == f"library_name: vip\n{f'base_model: {name}' + chr(10) if named else ''}tags: [vip, soft-prompt, t5]\n"


def test_results_are_put_on_the_card(build: Build, backbone: Backbone, tmp_path: Path) -> None:
    save_adapter(build(), tmp_path / "adapter", backbone=backbone.name, results="| accuracy | 0.5 |")
    assert "| accuracy | 0.5 |" in (tmp_path / "adapter" / CARD).read_text(encoding="utf-8")


def test_files_can_be_read_by_others(saved: Path) -> None:
    assert {path.stat().st_mode & 0o444 for path in saved.iterdir()} == {0o444}


# --- saving ---


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_adapter_replaces_another(saved: Path, build: Build, trained: Build, backbone: Backbone) -> None:
    model = trained(build(method="pt"), seed=6)
    save_adapter(model, saved, backbone=backbone.name)
    assert torch.equal(load_adapter(saved, backbone=backbone).model.prompt.prompt_PD, model.prompt.prompt_PD)
    assert {path.name for path in saved.parent.iterdir()} == {"adapter"}
    assert {path.name for path in saved.iterdir()} == FILES


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["prompt_PD", "quantizer.codebook.code_KD", "contextualizer.up.bias"])
def test_what_is_not_finite_is_not_saved_and_the_old_adapter_stays(
    name: str, value: float, saved: Path, build: Build, backbone: Backbone
) -> None:
    before = contents(saved.parent)
    model = build()
    model.prompt.state_dict()[name].view(-1)[-1] = value
    with pytest.raises(ValueError, match=re.escape(name)):
        save_adapter(model, saved, backbone=backbone.name)
    assert contents(saved.parent) == before


def test_what_is_empty_is_not_saved_and_the_old_adapter_stays(saved: Path, build: Build, backbone: Backbone) -> None:
    before = contents(saved.parent)
    model = build()
    model.prompt.prompt_PD = torch.nn.Parameter(torch.empty(0, 32))
    with pytest.raises(ValueError, match="prompt_PD"):
        save_adapter(model, saved, backbone=backbone.name)
    assert contents(saved.parent) == before


def test_a_folder_of_other_files_is_refused_and_kept(build: Build, backbone: Backbone, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(UserError, match="no adapter") as caught:
        save_adapter(build(), tmp_path / "thesis", backbone=backbone.name)
    assert str(tmp_path / "thesis") in str(caught.value)
    assert contents(tmp_path) == before


def test_other_files_beside_an_adapter_are_never_lost(saved: Path, build: Build, backbone: Backbone) -> None:
    (saved / "notes.txt").write_text("mine")
    before = contents(saved)
    with pytest.raises(UserError, match=re.escape(str(saved))):
        save_adapter(build(), saved, backbone=backbone.name)
    assert contents(saved) == before


def test_an_adapter_of_another_library_is_never_lost(build: Build, backbone: Backbone, tmp_path: Path) -> None:
    # Other libraries use the same file names.
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps({"peft_type": "PROMPT_TUNING", "task_type": "SEQ_2_SEQ_LM"}))
    save_file({"prompt_embeddings": torch.zeros(3, 32)}, folder / WEIGHTS)
    before = contents(folder)
    with pytest.raises(UserError, match=re.escape(str(folder))):
        save_adapter(build(), folder, backbone=backbone.name)
    assert contents(folder) == before
