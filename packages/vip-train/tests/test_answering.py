"""Fixed answers against constrained generation, written ones against `generate`, and both on several processes."""

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, NamedTuple

import pytest
import torch
from vip_core import ContextualizerConfig, VIPConfig, VIPPrompt
from vip_train import TASKS, load_backbone
from vip_train.backbones import Backbone
from vip_train.data import encode_sources
from vip_train.evaluation import evaluate
from vip_train.model import VIPModel
from vip_train.scoring import Scoring
from vip_train.tasks import Example
from vip_train.tokenised import TokenisedSplit
from vip_train.world import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
Execute = Callable[..., CompletedProcess[str]]


def answers_of(
    model: VIPModel, examples: list[Example], answers: tuple[str, ...], backbone: Backbone, batch_size: int = 64
) -> list[str]:
    split = TokenisedSplit(examples, backbone.tokenizer, 480)
    return evaluate(model, split, Scoring.among(answers), backbone.tokenizer, ALONE, batch_size=batch_size).answers


def constrained(model: VIPModel, text: str, answers: tuple[str, ...], backbone: Backbone) -> str:
    """The answer that a beam search finds which may write nothing but answers, as many beams as there are answers."""
    tokenizer = backbone.tokenizer
    rows = [tokenizer(answer)["input_ids"] for answer in answers]

    def allowed(_: int, ids: torch.Tensor) -> list[int]:
        so_far = ids.tolist()[1:]  # after the start token
        return [row[len(so_far)] for row in rows if row[: len(so_far)] == so_far and len(row) > len(so_far)] or [0]

    source = encode_sources([text], tokenizer, 480)
    (found,) = model.generate(
        source.input_ids,
        source.attention_mask,
        prefix_allowed_tokens_fn=allowed,
        num_beams=len(answers),
        length_penalty=0.0,  # the sum over tokens, as in the loss
        early_stopping="never",
        do_sample=False,
        max_new_tokens=max(map(len, rows)),
    )
    written = [token for token in found.tolist()[1:] if token != tokenizer.pad_token_id]
    return answers[rows.index(written)]


@pytest.mark.parametrize(("task", "method"), [("forms", "vip"), ("notes", "vip"), ("notes", "pt")])
def test_on_the_bundled_backbone_a_choice_is_what_constrained_generation_writes(task: str, method: Any) -> None:
    backbone = load_backbone()
    chosen = TASKS[task]
    answers = tuple(dict.fromkeys(chosen.answers.values()))
    examples = chosen.load("validation", None)[::60][:8]
    torch.manual_seed(1)
    model = VIPModel(
        backbone.model, VIPPrompt(VIPConfig(method=method, prompt_length=4), backbone.model.get_input_embeddings().weight)
    )
    found = answers_of(model, examples, answers, backbone, batch_size=3)
    model.eval()
    assert found == [constrained(model, example.source, answers, backbone) for example in examples]
    assert len(set(found)) > 1, "answers differ, or this test shows nothing"


def test_answers_of_several_tokens_that_begin_alike_are_chosen_as_generation_would(talkative: Backbone) -> None:
    answers = ("ba", "ba ke", "ba ke lo", "milotura", "milo", "lo")
    texts = ["Bake milo.", "Tura ke lo sendor.", "Ip oth.", "Nak vil dor sen ra.", "Ke.", "Mi tu ra."]
    model = VIPModel(
        talkative.model, VIPPrompt(VIPConfig(method="pt", prompt_length=3), talkative.model.get_input_embeddings().weight)
    )
    found = answers_of(model, [Example(text, "ba", "") for text in texts], answers, talkative)
    model.eval()
    assert found == [constrained(model, text, answers, talkative) for text in texts]
    assert len(set(found)) > 1


# --- free text ---


def test_free_text_is_what_generate_writes(talkative: Backbone, texts: list[str]) -> None:
    torch.manual_seed(2)
    prompt = VIPPrompt(VIPConfig(method="vip-c", prompt_length=3), talkative.model.get_input_embeddings().weight)
    model = VIPModel(talkative.model, prompt).eval()
    examples = [
        Example(text, target, "") for text, target in zip(texts, ("ba", "ke lo mi", "tu ra", "milotura ba"), strict=True)
    ]
    split = TokenisedSplit(examples, talkative.tokenizer, 480)
    limit = int(split.target_length_N.max())
    alone = []
    for text in texts:
        source = encode_sources([text], talkative.tokenizer, 480)
        ids = model.generate(source.input_ids, source.attention_mask, max_new_tokens=limit)
        assert ids.shape[1] <= limit + 1
        alone += talkative.tokenizer.batch_decode(ids, skip_special_tokens=True)
    for batch_size in (1, 2, 64):
        assert answers_of(model, examples, (), talkative, batch_size) == alone
    found = evaluate(model.train(), split, Scoring.among(()), talkative.tokenizer, ALONE)
    assert model.training
    model.eval()
    expected = [model(*split.batch([row])).nll_B.item() for row in range(4)]
    assert found.nll == pytest.approx(sum(expected) / 4, rel=1e-5)


NO_DEEPSPEED = shutil.which("g++") is None or importlib.util.find_spec("deepspeed") is None


@pytest.fixture
def answered(talkative: Backbone, execute: Execute, tmp_path: Path) -> dict[str, list[dict[str, Any]]]:
    """What each process of each group of writers.py found."""
    config = VIPConfig(
        prompt_length=3, method="vip-c", contextualizer=ContextualizerConfig(width=8, layers=1, heads=2, feedforward=16)
    )
    prompt = VIPPrompt(config, talkative.model.get_input_embeddings().weight)
    source = encode_sources(["Ra tu."], talkative.tokenizer, 480)
    (written,) = VIPModel(talkative.model, prompt).generate(source.input_ids, source.attention_mask, max_new_tokens=4)
    # The fourth token of this text ends it, and others where it comes.
    talkative.model.generation_config.eos_token_id = [talkative.tokenizer.eos_token_id, int(written[4])]
    torch.save(prompt.state_dict(), tmp_path / "prompt.pt")
    talkative.model.save_pretrained(tmp_path / "talkative")
    talkative.tokenizer.save_pretrained(tmp_path / "talkative")
    script = Path(__file__).with_name("writers.py")
    run = execute(sys.executable, script, tmp_path / "talkative", tmp_path, timeout=550, DS_ACCELERATOR="cpu")
    assert run.returncode == 0, run.stdout + run.stderr
    groups = {"alone": 1, "two": 2, "three": 3, "zero 3": 2}
    return {
        name: [json.loads((tmp_path / f"{name}.{rank}.json").read_text()) for rank in range(size)]
        for name, size in groups.items()
    }


@pytest.mark.deepspeed
@pytest.mark.skipif(NO_DEEPSPEED, reason="needs deepspeed, and g++ to compile its operators")
def test_uneven_processes_answer_as_one_alone(answered: dict[str, list[dict[str, Any]]]) -> None:
    """Seven examples one by one, of which texts of different lengths are written."""
    (alone,) = answered.pop("alone")
    assert len({len(text) for text in alone["written"]["texts"]}) > 3, "lengths differ, or this test shows nothing"
    assert len(set(alone["chosen"]["texts"])) > 1
    for name, found in answered.items():
        assert found == found[:1] * len(found), "the same in every process"
        nlls = {how: found[0][how].pop("nll") for how in ("written", "chosen")}
        assert nlls == pytest.approx({how: alone[how]["nll"] for how in nlls}, rel=1e-6 if name == "zero 3" else 0, abs=0)
        assert all(found[0][how].items() <= alone[how].items() for how in nlls)


# --- a mixture ---


class Parts(NamedTuple):
    answers: dict[str, str]
    metrics: tuple[str, ...]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_rows_of_several_tasks_are_each_answered_as_their_task_alone(
    batch_size: int, talkative: Backbone, texts: list[str]
) -> None:
    torch.manual_seed(2)
    prompt = VIPPrompt(VIPConfig(method="vip-c", prompt_length=3), talkative.model.get_input_embeddings().weight)
    model = VIPModel(talkative.model, prompt).eval()
    kinds = {"two": ("ba", "milotura"), "three": ("ke lo", "milotura", "sen"), "free": ()}
    examples = [
        Example(text, target, "", task=name)
        for text in texts
        for name, target in (("two", "ba"), ("three", "sen"), ("free", "ke lo mi"))
    ]
    scoring = Scoring({name: Parts({text: text for text in own}, ("accuracy",)) for name, own in kinds.items()})
    split = TokenisedSplit(examples, talkative.tokenizer, 480)
    found = evaluate(model, split, scoring, talkative.tokenizer, ALONE, batch_size=batch_size)
    nll = 0.0
    for name, own in kinds.items():
        rows = [row for row, example in enumerate(examples) if example.task == name]
        part = TokenisedSplit([examples[row]._replace(task="") for row in rows], talkative.tokenizer, 480)
        alone = evaluate(model, part, Scoring.among(own), talkative.tokenizer, ALONE)
        assert [found.answers[row] for row in rows] == alone.answers
        assert found.scores.values[f"accuracy/{name}"] == alone.scores.values["accuracy"]
        nll += alone.nll / 3
    assert found.nll == pytest.approx(nll, rel=1e-5)
    assert next(iter(found.scores.values)) == "mean"
