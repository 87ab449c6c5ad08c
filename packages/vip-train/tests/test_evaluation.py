"""Accuracy, likelihood and code use against a loop by hand, one example at a time."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from vip_core import QuantizerConfig
from vip_train.backbones import Backbone
from vip_train.data import encode_answers, encode_sources
from vip_train.evaluation import Evaluation, Seen, evaluate
from vip_train.model import VIPModel
from vip_train.scoring import Scoring
from vip_train.tasks import Example
from vip_train.tokenised import TokenisedSplit
from vip_train.world import World

ANSWERS = ("ba", "milotura", "ke lo")
ALONE = World(rank=0, size=1, device=torch.device("cpu"))
Build = Callable[..., VIPModel]


@pytest.fixture
def examples(texts: list[str]) -> list[Example]:
    """Eleven examples of all answers."""
    words = " ".join(texts).split()
    return [Example(" ".join(words[number : number + 4 + number % 3]), ANSWERS[number % 3], "") for number in range(11)]


def measure(
    model: VIPModel, examples: list[Example], backbone: Backbone, *, max_source_length: int = 480, **values: Any
) -> Evaluation:
    split = TokenisedSplit(examples, backbone.tokenizer, max_source_length)
    return evaluate(model, split, Scoring.among(ANSWERS), backbone.tokenizer, ALONE, **values)


@pytest.mark.parametrize("method", ["vip", "vip-c", "vip-q", "pt"])
def test_it_equals_a_loop_by_hand(method: str, build: Build, examples: list[Example], backbone: Backbone) -> None:
    model = build(method=method)
    right, nll, weights = [], [], []
    for example in examples:
        sources = encode_sources([example.source], backbone.tokenizer, 480)
        # Each answer by a whole forward pass of its own.
        scores = []
        for answer in ANSWERS:
            output = model(sources.input_ids, sources.attention_mask, encode_answers([answer], backbone.tokenizer))
            scores.append(output.nll_B.item())
        right.append(ANSWERS[scores.index(min(scores))] == example.target)
        nll.append(scores[ANSWERS.index(example.target)])
        weights.append(output.prompted.weight_BPK.detach().sum((0, 1)))
    found = measure(model, examples, backbone)
    assert found.scores.values == {"accuracy": pytest.approx(sum(right) / 11)}
    assert found.nll == pytest.approx(sum(nll) / 11, rel=1e-5)
    share_K = torch.stack(weights).sum(0) / torch.stack(weights).sum().clamp_min(1e-30)
    if method in ("vip", "vip-q"):
        entropy = -sum(share * math.log(share) for share in share_K.tolist() if share > 0)
        assert found.selection.code_perplexity == pytest.approx(math.exp(entropy), rel=1e-4)
        assert found.selection.codes_used == pytest.approx(sum(share >= 1e-4 for share in share_K.tolist()) / 7)
    else:
        assert set(found.selection) == {0.0, ()}


@pytest.mark.parametrize("batch_size", [1, 4, 11, 64])
def test_it_does_not_depend_on_the_batch_size(
    batch_size: int, build: Build, examples: list[Example], backbone: Backbone
) -> None:
    model = build()
    found, expected = measure(model, examples, backbone, batch_size=batch_size), measure(model, examples, backbone)
    for name, value in expected.record().items():
        assert found.record()[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name  # bits are differences


def test_it_repeats_bitwise_and_changes_nothing(build: Build, examples: list[Example], backbone: Backbone) -> None:
    model = build().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(1)
    first = measure(model, examples, backbone)
    torch.manual_seed(2)
    assert measure(model, examples, backbone) == first
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_the_models_mode_is_restored(training: bool, build: Build, examples: list[Example], backbone: Backbone) -> None:
    model = build().train(training)
    measure(model, examples, backbone)
    assert model.training is training
    assert model.prompt.training is training
    assert not model.backbone.training


def test_during_the_warm_up_no_code_is_in_use(build: Build, examples: list[Example], backbone: Backbone) -> None:
    found = measure(build(quantizer=QuantizerConfig(codes=7, warmup_steps=5)), examples, backbone)
    assert set(found.selection) == {0.0, ()}
    assert found.nll > 0


def test_long_sources_are_cut_as_in_training(build: Build, examples: list[Example], backbone: Backbone) -> None:
    model = build()
    tokens = [backbone.tokenizer(example.source)["input_ids"] for example in examples]
    assert min(map(len, tokens)) > 4
    assert measure(model, examples, backbone, max_source_length=4).nll != measure(model, examples, backbone).nll


@pytest.mark.parametrize("size", [2, 3, 16])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_processes_share_the_examples_without_repeating_any(
    batch_size: int, size: int, build: Build, examples: list[Example], backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each of several processes would send is added up for the last; some have none of the eleven examples."""
    model = build()
    expected = measure(model, examples, backbone, batch_size=batch_size)
    split = TokenisedSplit(examples, backbone.tokenizer, 480)
    sent: list[list[torch.Tensor]] = []
    forwards: list[int] = []
    real = VIPModel.put_prompt

    def counted(self: VIPModel, *values: Any, **named: Any) -> Any:
        forwards[-1] += 1
        return real(self, *values, **named)

    class Part(World):
        def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
            mine.append(tensor.clone())
            if len(sent) == size - 1:
                tensor += sum(part[len(mine) - 1] for part in sent)
            return tensor

    monkeypatch.setattr(VIPModel, "put_prompt", counted)
    for rank in range(size):
        mine: list[torch.Tensor] = []
        forwards.append(0)
        part = Part(rank=rank, size=size, device=torch.device("cpu"))
        found = evaluate(model, split, Scoring.among(ANSWERS), backbone.tokenizer, part, batch_size=batch_size)
        sent.append(mine)
    assert (found.scores, found.nll, found.answers) == (expected.scores, expected.nll, expected.answers), "bit for bit"
    for name, value in expected.record().items():
        assert found.record()[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    assert len(set(forwards)) == 1, "where the backbone is sharded each forward is a collective"


def test_answers_are_in_the_order_of_the_examples(build: Build, examples: list[Example], backbone: Backbone) -> None:
    found = measure(build(), examples, backbone, batch_size=2)
    assert found.answers == [measure(build(), [example], backbone).answers[0] for example in examples]
    right = [answer == example.target for answer, example in zip(found.answers, examples, strict=True)]
    assert found.scores.values["accuracy"] == pytest.approx(sum(right) / 11)


def test_long_and_short_examples_are_not_padded_to_each_other(
    build: Build, examples: list[Example], backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks: list[torch.Tensor] = []
    real = VIPModel.put_prompt

    def seen(self: VIPModel, ids: torch.Tensor, mask: torch.Tensor, **named: Any) -> Any:
        masks.append(mask)
        return real(self, ids, mask, **named)

    monkeypatch.setattr(VIPModel, "put_prompt", seen)
    measure(build(), examples, backbone, batch_size=3)
    lengths = [length for mask in masks for length in mask.sum(1).tolist()]
    assert lengths == sorted(lengths, reverse=True)
    assert [len(mask) for mask in masks] == [3, 3, 3, 2]


def test_bits_on_labels_are_not_asked_of_free_text(build: Build, examples: list[Example], backbone: Backbone) -> None:
    """There may be as many answers as examples."""
    split = TokenisedSplit(examples, backbone.tokenizer, 480)
    found = evaluate(build(), split, Scoring.among(()), backbone.tokenizer, ALONE)
    assert found.selection.label_bits == pytest.approx(0, abs=1e-6)
    assert found.selection.input_bits == pytest.approx(measure(build(), examples, backbone).selection.input_bits, rel=1e-4)


@pytest.mark.parametrize("answers", [ANSWERS, ()])
def test_who_watches_sees_each_example_once_and_changes_nothing(
    answers: tuple[str, ...], build: Build, examples: list[Example], backbone: Backbone
) -> None:
    model, split, scoring = build(), TokenisedSplit(examples, backbone.tokenizer, 480), Scoring.among(answers)
    batches: list[Seen] = []
    found = evaluate(model, split, scoring, backbone.tokenizer, ALONE, batch_size=4, observe=batches.append)
    assert found == evaluate(model, split, scoring, backbone.tokenizer, ALONE, batch_size=4)
    assert sorted(row for seen in batches for row in seen.row_B.tolist()) == list(range(11))
    assert sum(float(seen.nll_B.sum()) for seen in batches) / 11 == pytest.approx(found.nll)
    for seen in batches:
        assert tuple(seen.choices) == answers
        assert seen.nll_BA.shape == (len(seen.row_B), len(answers))
        assert seen.weight_BPK.shape == (len(seen.row_B), 3, 7)
        for row, nll, nll_A in zip(seen.row_B.tolist(), seen.nll_B.tolist(), seen.nll_BA.tolist(), strict=True):
            if answers:
                assert answers[nll_A.index(min(nll_A))] == found.answers[row]
                assert nll_A[answers.index(examples[row].target)] == nll
