"""Soft prompts of PEFT and google-research: PEFT's own answers are ours, both ways."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from vip_train.adapter import Adapter, load_adapter
from vip_train.backbones import Backbone
from vip_train.cli import main
from vip_train.data import encode_answers
from vip_train.exchange import export_to_peft, import_soft_prompt
from vip_train.model import VIPModel
from vip_train.predict import predict
from vip_train.tasks import get_task

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# PEFT 0.21 asks transformers 5.23 by an older name.
THEIRS = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
WRITING = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}


@pytest.fixture
def peft() -> Any:
    """The library; a copy of the backbone goes with it, for it changes the model it is given."""
    return pytest.importorskip("peft", reason="peft is not installed: nothing to compare with")


@pytest.fixture
def soft(build: Callable[..., VIPModel], trained: Callable[..., VIPModel], talkative: Backbone, tmp_path: Path) -> Adapter:
    """A soft prompt of ours."""
    model = VIPModel(talkative.model, trained(build(method="pt", prompt_length=5)).prompt)
    model.save_pretrained(tmp_path / "soft", backbone=talkative.name)
    return load_adapter(tmp_path / "soft", backbone=talkative)


def same_answers(theirs: Any, ours: VIPModel, source: tuple[Tensor, Tensor], backbone: Backbone) -> None:
    """Logits and written text of PEFT's model are ours."""
    labels = encode_answers(["ba", "milotura", "ke lo", "ba"], backbone.tokenizer)
    with torch.no_grad():
        expected = theirs(input_ids=source[0], attention_mask=source[1], labels=labels).logits
        found = ours(*source, labels).logit_BTV
        bare = ours.backbone(input_ids=source[0], attention_mask=source[1], labels=labels).logits
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, bare, atol=1e-2), "the prompt changes nothing: this would show nothing"
    written = theirs.generate(input_ids=source[0], attention_mask=source[1], **WRITING)
    assert torch.equal(ours.generate(*source, **WRITING), written)


# --- PEFT ---


@THEIRS
@pytest.mark.parametrize("parts", [None, 1, 2])
def test_a_prompt_that_peft_saved_answers_as_in_peft(
    parts: int | None, peft: Any, talkative: Backbone, source: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    config = peft.PromptTuningConfig(
        task_type="SEQ_2_SEQ_LM", num_virtual_tokens=5, num_transformer_submodules=parts, prompt_tuning_init="RANDOM"
    )
    theirs = peft.get_peft_model(deepcopy(talkative.model), config).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    assert len(load_file(tmp_path / "theirs" / WEIGHTS)["prompt_embeddings"]) == 5 * (parts or 2)
    adapter = import_soft_prompt(tmp_path / "theirs", talkative, answers=("ba", "ke lo"))
    assert (adapter.config.vip.method, adapter.config.vip.prompt_length) == ("pt", 5)
    same_answers(theirs, adapter.model, source, talkative)


@THEIRS
def test_an_exported_prompt_answers_in_peft_as_here(
    peft: Any, soft: Adapter, talkative: Backbone, source: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    export_to_peft(soft, tmp_path / "export")
    theirs = peft.PeftModel.from_pretrained(deepcopy(talkative.model), str(tmp_path / "export")).eval()
    same_answers(theirs, soft.model, source, talkative)


@THEIRS
def test_an_exported_prompt_that_peft_saved_again_comes_back(
    peft: Any, soft: Adapter, talkative: Backbone, tmp_path: Path
) -> None:
    export_to_peft(soft, tmp_path / "export")
    peft.PeftModel.from_pretrained(deepcopy(talkative.model), str(tmp_path / "export")).save_pretrained(tmp_path / "again")
    again = import_soft_prompt(tmp_path / "again", talkative)
    assert torch.equal(again.model.prompt.prompt_PD, soft.model.prompt.prompt_PD)


def test_the_encoder_reads_the_first_rows(foreign: Path, backbone: Backbone) -> None:
    adapter = import_soft_prompt(foreign, backbone)
    assert torch.equal(adapter.model.prompt.prompt_PD, load_file(foreign / WEIGHTS)["prompt_embeddings"][:5])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_as_fp32(dtype: torch.dtype, foreign: Path, backbone: Backbone) -> None:
    rows = torch.randn(10, 32).to(dtype)
    save_file({"prompt_embeddings": rows}, foreign / WEIGHTS)
    found = import_soft_prompt(foreign, backbone).model.prompt.prompt_PD
    assert found.dtype == torch.float32
    assert torch.equal(found, rows[:5].float())


def test_what_is_exported_comes_back(soft: Adapter, talkative: Backbone, tmp_path: Path) -> None:
    export_to_peft(soft, str(tmp_path / "export"))
    assert {path.name for path in (tmp_path / "export").iterdir()} == {CONFIG, WEIGHTS}
    again = import_soft_prompt(str(tmp_path / "export"), talkative)
    assert torch.equal(again.model.prompt.prompt_PD, soft.model.prompt.prompt_PD)
    assert json.loads((tmp_path / "export" / CONFIG).read_text())["base_model_name_or_path"] == talkative.name


def test_the_bundled_backbone_has_no_name_elsewhere(soft: Adapter, tmp_path: Path) -> None:
    from dataclasses import replace

    export_to_peft(soft._replace(config=replace(soft.config, backbone="bundled")), tmp_path / "export")
    assert json.loads((tmp_path / "export" / CONFIG).read_text())["base_model_name_or_path"] is None


def test_an_imported_prompt_is_an_adapter_as_any_other(
    foreign: Path, tiny_backbone: Path, texts: list[str], tmp_path: Path
) -> None:
    torch.manual_seed(4)
    adapter = import_soft_prompt(foreign, str(tiny_backbone), task="superglue/cb", answers=("ba", "ke lo"), max_source_length=9)
    assert torch.initial_seed() == 4
    adapter.save_pretrained(tmp_path / "ours")
    again = load_adapter(tmp_path / "ours")
    assert again.config == adapter.config
    assert (again.config.task, again.config.answers, again.config.max_source_length) == ("superglue/cb", ("ba", "ke lo"), 9)
    expected = [found.probability for found in predict(adapter, texts)]
    assert [found.probability for found in predict(again, texts)] == expected


# --- google-research ---


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_a_prompt_of_google_research_is_read(dtype: Any, backbone: Backbone, tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(7, 32)).astype(dtype)
    np.save(tmp_path / "prompt.npy", array)
    adapter = import_soft_prompt(tmp_path / "prompt.npy", backbone)
    assert adapter.config.vip.prompt_length == 7
    assert np.array_equal(adapter.model.prompt.prompt_PD.detach().numpy(), array.astype(np.float32))


# --- commands ---


def test_both_ways_are_commands(foreign: Path, tiny_backbone: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    flags = ["--backbone", str(tiny_backbone), "--task", "superglue/cb", "--max-source-length", "64"]
    assert main(["import", "--prompt", str(foreign), "--output", str(ours), *flags]) == 0
    assert capfd.readouterr().out == f"adapter {ours}\n"
    config = load_adapter(ours).config
    assert (config.answers, config.max_source_length) == (tuple(get_task("superglue/cb").answers.values()), 64)
    assert main(["export", "--adapter", str(ours), "--output", str(theirs)]) == 0
    assert capfd.readouterr().out == f"PEFT folder {theirs}\n"
    rows = load_file(foreign / WEIGHTS)["prompt_embeddings"]
    assert torch.equal(load_file(theirs / WEIGHTS)["prompt_embeddings"], rows[:5])
