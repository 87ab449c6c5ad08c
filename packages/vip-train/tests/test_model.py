"""The prompted backbone against the backbone alone, prepended by hand: loss, gradients, generation, answers, padding, state."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from vip_train.backbones import Backbone, load_backbone
from vip_train.data import encode_answers
from vip_train.model import VIPModel

METHODS = ["vip", "vip-c", "vip-q", "pt"]
WORDS = ("ba", "milotura", "ke lo")
Build = Callable[..., VIPModel]


def state_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def by_hand(model: VIPModel, input_ids: Tensor, mask_BS: Tensor) -> tuple[Tensor, Tensor]:
    """What the encoder has to read: the prompt, a one for each of its tokens, and the text."""
    prompt_BPD = model.put_prompt(input_ids, mask_BS).prompt_BPD
    embeds = torch.cat([prompt_BPD, model.backbone.shared(input_ids)], dim=1)
    return embeds, torch.cat([torch.ones(prompt_BPD.shape[:2], dtype=torch.int64), mask_BS], dim=1)


@pytest.mark.parametrize("method", METHODS)
def test_loss_is_that_of_the_backbone_behind_a_prompt_put_by_hand(
    method: str, build: Build, source: tuple[Tensor, Tensor], labels: Tensor
) -> None:
    model = build(method=method)
    found = model(*source, labels)
    embeds_BLD, mask_BL = by_hand(model, *source)
    for row in range(len(labels)):
        label_1T = labels[row : row + 1]
        # transformers' own loss is the mean over the tokens that count; ours is their sum, as the method's release has it.
        alone = model.backbone(
            inputs_embeds=embeds_BLD[row : row + 1], attention_mask=mask_BL[row : row + 1], labels=label_1T
        ).loss
        torch.testing.assert_close(found.nll_B[row], alone * (label_1T != -100).sum())
    torch.testing.assert_close(found.loss, found.nll_B.mean() + found.prompted.commitment)
    assert (found.prompted.commitment > 0) == (method in ("vip", "vip-q"))
    assert found.logit_BTV.shape == (*labels.shape, len(model.backbone.shared.weight))


@pytest.mark.parametrize("method", METHODS)
def test_all_of_the_prompt_and_nothing_else_gets_gradients(
    method: str, build: Build, source: tuple[Tensor, Tensor], labels: Tensor
) -> None:
    model = build(method=method).train()
    before = state_of(model.backbone)
    model(*source, labels).loss.backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == {
        f"prompt.{name}" for name, _ in model.prompt.named_parameters()
    }
    for name, parameter in model.prompt.named_parameters():
        # The keys' bias shifts all scores of a softmax alike: its gradient is zero by mathematics, so it is not asked for.
        if not name.endswith("in_proj_bias"):
            assert parameter.grad is not None
            assert parameter.grad.abs().max() > 0, name
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())


def test_the_backbone_is_frozen_by_the_model_itself(tiny_backbone: Any, build: Build) -> None:
    raw = load_backbone(str(tiny_backbone)).model
    raw.requires_grad_(True).train()
    model = VIPModel(raw, build().prompt)
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())
    assert not model.backbone.training


def test_train_switches_the_prompt_alone(build: Build) -> None:
    model = build()
    assert model.train() is model
    assert model.training
    assert model.prompt.training
    assert not any(module.training for module in model.backbone.modules())
    assert not any(module.training for module in model.eval().modules())


def test_training_samples_and_evaluation_repeats_bitwise(build: Build, source: tuple[Tensor, Tensor], labels: Tensor) -> None:
    model = build()
    before = state_of(model)
    torch.manual_seed(1)
    first = model(*source, labels)
    torch.manual_seed(2)
    second = model(*source, labels)
    assert torch.equal(first.loss, second.loss)
    assert torch.equal(first.logit_BTV, second.logit_BTV)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.train()
    torch.manual_seed(1)
    third = model(*source, labels)
    torch.manual_seed(2)
    assert not torch.equal(third.prompted.weight_BPK, model(*source, labels).prompted.weight_BPK)


def pad(tensor_BS: Tensor, *, left: int, right: int, value: int) -> Tensor:
    return torch.nn.functional.pad(tensor_BS, (left, right), value=value)


PADDING = [(0, 0), (0, 5), (5, 0), (3, 4)]
GENERATION = {
    "greedy": {"num_beams": 1},
    "beam": {"num_beams": 3},
    "three of five beams": {"num_beams": 5, "num_return_sequences": 3},
}


@pytest.mark.parametrize("how", GENERATION)
def test_generation_equals_the_backbones_own_behind_a_prompt_put_by_hand(
    how: str, build: Build, talkative: Backbone, source: tuple[Tensor, Tensor]
) -> None:
    model = VIPModel(talkative.model, build().prompt)
    options = {"max_new_tokens": 8, "do_sample": False, **GENERATION[how]}
    embeds_BLD, mask_BL = by_hand(model, *source)
    expected = talkative.model.generate(inputs_embeds=embeds_BLD, attention_mask=mask_BL, **options)
    found = model.generate(*source, **options)
    assert torch.equal(found, expected)
    assert len(found) == 4 * options.get("num_return_sequences", 1)
    assert len({tuple(row) for row in found.tolist()}) > 1, "all rows alike: this would show nothing"


@pytest.mark.parametrize("how", ["greedy", "beam"])
@pytest.mark.parametrize(("left", "right"), PADDING)
def test_rows_of_a_padded_batch_are_written_as_alone(
    left: int, right: int, how: str, build: Build, talkative: Backbone, source: tuple[Tensor, Tensor]
) -> None:
    model = VIPModel(talkative.model, build().prompt)
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, **GENERATION[how]}
    input_ids, mask_BS = source
    together = model.generate(
        pad(input_ids, left=left, right=right, value=0), pad(mask_BS, left=left, right=right, value=0), **options
    )
    for row in range(len(input_ids)):
        length = int(mask_BS[row].sum())
        alone = model.generate(input_ids[row : row + 1, :length], mask_BS[row : row + 1, :length], **options)
        assert torch.equal(together[row : row + 1], alone), row


@pytest.mark.parametrize(("left", "right"), PADDING)
def test_loss_does_not_depend_on_padding(
    left: int, right: int, build: Build, source: tuple[Tensor, Tensor], labels: Tensor
) -> None:
    model = build()
    input_ids, mask_BS = source
    padded = model(pad(input_ids, left=left, right=right, value=0), pad(mask_BS, left=left, right=right, value=0), labels)
    for row in range(len(input_ids)):
        length = int(mask_BS[row].sum())
        alone = model(input_ids[row : row + 1, :length], mask_BS[row : row + 1, :length], labels[row : row + 1])
        torch.testing.assert_close(padded.prompted.prompt_BPD[row], alone.prompted.prompt_BPD[0])
        torch.testing.assert_close(padded.nll_B[row], alone.nll_B[0])


def test_generation_in_training_mode_changes_nothing(build: Build, source: tuple[Tensor, Tensor]) -> None:
    model = build().train()
    before = state_of(model)
    written = model.generate(*source, max_new_tokens=3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model.generate(*source, max_new_tokens=3), written)
    assert model.training
    assert model.prompt.training


@pytest.mark.parametrize("method", METHODS)
def test_scores_of_answers_are_their_forward_losses(
    method: str, build: Build, backbone: Backbone, source: tuple[Tensor, Tensor]
) -> None:
    model = build(method=method)
    answers_AT = encode_answers(WORDS, backbone.tokenizer)
    assert (answers_AT == -100).any()
    found_BA = model.score_answers(model.put_prompt(*source), answers_AT)
    assert found_BA.shape == (4, 3)
    for number, word in enumerate(WORDS):
        expected_B = model(*source, encode_answers([word], backbone.tokenizer).expand(4, -1)).nll_B
        torch.testing.assert_close(found_BA[:, number], expected_B)
    assert found_BA.requires_grad is False


def test_targets_are_scored_for_the_rows_they_belong_to(
    build: Build, backbone: Backbone, source: tuple[Tensor, Tensor]
) -> None:
    """In any order; a row may have several or none."""
    model = build()
    rows, words = torch.tensor([2, 0, 2, 3]), [WORDS[1], WORDS[0], WORDS[2], WORDS[1]]
    label_NT = encode_answers(words, backbone.tokenizer)
    found_N = model.score_targets(model.put_prompt(*source), rows, label_NT)
    torch.testing.assert_close(found_N, model(source[0][rows], source[1][rows], label_NT).nll_B)


def test_scores_belong_to_the_selection_they_are_given(build: Build, backbone: Backbone, source: tuple[Tensor, Tensor]) -> None:
    model = build(skip=False)
    answers_AT = encode_answers(WORDS, backbone.tokenizer)
    expected = model.score_answers(model.put_prompt(*source), answers_AT)
    other = model.put_prompt(*source, how="argmax")
    assert set(other.weight_BPK.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(model.score_answers(other, answers_AT), expected)


def test_a_bf16_backbone_reads_bf16_and_the_prompt_stays_fp32(
    build: Build, tiny_backbone: Any, source: tuple[Tensor, Tensor], labels: Tensor
) -> None:
    model = VIPModel(load_backbone(str(tiny_backbone), precision="bf16").model, build().prompt).train()
    found = model(*source, labels)
    found.loss.backward()
    assert found.prompted.embeds_BLD.dtype == torch.bfloat16
    assert found.loss.dtype == found.nll_B.dtype == found.prompted.prompt_BPD.dtype == torch.float32
    for name, parameter in model.prompt.named_parameters():
        assert parameter.dtype == parameter.grad.dtype == torch.float32, name  # type: ignore[union-attr]


@pytest.mark.parametrize("method", METHODS)
def test_state_of_the_prompt_holds_no_tensor_of_the_backbone(method: str, build: Build) -> None:
    model = build(method=method)
    held = {tensor.data_ptr() for tensor in model.backbone.state_dict().values()}
    for name, tensor in model.prompt.state_dict().items():
        assert not name.startswith("backbone"), name
        assert tensor.data_ptr() not in held, name
        assert len(model.backbone.shared.weight) not in tensor.shape, name


def test_saving_and_loading_are_at_hand(build: Build, backbone: Backbone, tmp_path: Any) -> None:
    model = build()
    model.save_pretrained(tmp_path / "adapter", backbone=backbone.name)
    again = VIPModel.from_pretrained(tmp_path / "adapter", backbone=backbone)
    assert isinstance(again, VIPModel)
    assert all(torch.equal(value, model.prompt.state_dict()[name]) for name, value in again.prompt.state_dict().items())
