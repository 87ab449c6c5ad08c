"""Answers of an adapter: the scored ones, the written ones, their order, and the codes beside them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from vip_core import Prompted
from vip_train.adapter import Adapter, load_adapter, save_adapter
from vip_train.backbones import Backbone
from vip_train.data import encode_answers, encode_sources
from vip_train.model import VIPModel
from vip_train.predict import predict

ANSWERS = ("ba", "milotura", "ke lo")


@pytest.fixture
def make(build: Callable[..., VIPModel], backbone: Backbone, tmp_path: Path) -> Callable[..., Adapter]:
    """Saves and loads an adapter with the given answers."""

    def adapter(answers: tuple[str, ...] = ANSWERS, max_source_length: int = 480, **values: object) -> Adapter:
        save_adapter(
            build(**values), tmp_path / "adapter", backbone=backbone.name, answers=answers, max_source_length=max_source_length
        )
        return load_adapter(tmp_path / "adapter", backbone=backbone)

    return adapter


Make = Callable[..., Adapter]


@pytest.mark.parametrize("method", ["vip", "vip-c", "vip-q", "pt"])
def test_fixed_answers_are_scored(method: str, make: Make, texts: list[str]) -> None:
    adapter = make(method=method)
    sources = encode_sources(texts, adapter.tokenizer, 480)
    for row, found in enumerate(predict(adapter, texts)):
        likelihood = {
            answer: adapter.model(*(part[row : row + 1] for part in sources[:2]), encode_answers([answer], adapter.tokenizer))
            .nll_B.neg()
            .exp()
            .item()
            for answer in ANSWERS
        }
        assert found.answer == max(likelihood, key=likelihood.__getitem__)
        assert list(found.probability) == list(ANSWERS)
        assert sum(found.probability.values()) == pytest.approx(1.0)
        for answer, value in likelihood.items():
            assert found.probability[answer] == pytest.approx(value / sum(likelihood.values()), rel=1e-4)


@pytest.mark.parametrize(("method", "codes"), [("vip", 7), ("vip-c", 0), ("vip-q", 7), ("pt", 0)])
def test_the_codes_of_each_text_come_along(method: str, codes: int, make: Make, texts: list[str]) -> None:
    adapter = make(method=method)
    sources = encode_sources(texts, adapter.tokenizer, 480)
    expected = adapter.model.put_prompt(sources.input_ids, sources.attention_mask).weight_BPK
    for found, weight_PK in zip(predict(adapter, texts), expected, strict=True):
        assert found.weight_PK.shape == (3, codes)
        torch.testing.assert_close(found.weight_PK, weight_PK)


def test_texts_may_be_kept_from_some_codes(make: Make, texts: list[str]) -> None:
    adapter = make()
    whole = list(predict(adapter, texts))
    allowed_NK = torch.ones(len(texts), 7, dtype=torch.bool)
    barred = [int(found.weight_PK.sum(0).argmax()) for found in whole]
    for row in range(1, len(texts)):
        allowed_NK[row, barred[row]] = False
    fewer = list(predict(adapter, texts, allowed_NK=allowed_NK, batch_size=2))
    assert fewer[0].probability == pytest.approx(whole[0].probability, rel=1e-4)
    for code, before, found in list(zip(barred, whole, fewer, strict=True))[1:]:
        assert float(found.weight_PK[:, code].sum()) == 0.0
        torch.testing.assert_close(found.weight_PK.sum(1), torch.ones(3))
        assert not torch.allclose(found.prompt_PD, before.prompt_PD)


@pytest.mark.parametrize("method", ["vip", "vip-c", "vip-q", "pt"])
def test_the_prompt_that_was_read_comes_along(method: str, make: Make, texts: list[str]) -> None:
    adapter = make(method=method)
    sources = encode_sources(texts, adapter.tokenizer, 480)
    expected = adapter.model.put_prompt(sources.input_ids, sources.attention_mask)
    for row, found in enumerate(predict(adapter, texts)):
        torch.testing.assert_close(found.prompt_PD, expected.prompt_BPD[row].detach())
        torch.testing.assert_close(found.prompt_PD, expected.embeds_BLD[row, :3].detach())


def test_answers_come_in_order_and_do_not_depend_on_the_batch(make: Make, texts: list[str]) -> None:
    adapter = make()
    alone = [next(predict(adapter, [text])) for text in texts]
    for size in (1, 3, 32):
        together = list(predict(adapter, texts, batch_size=size))
        assert [found.answer for found in together] == [found.answer for found in alone]
        for found, expected in zip(together, alone, strict=True):
            assert found.probability == pytest.approx(expected.probability, rel=1e-4)
    assert len({str(found.probability) for found in alone}) == len(texts), "all alike: this would show nothing"


def test_no_texts_are_no_answers(make: Make) -> None:
    assert list(predict(make(), [])) == []


def test_long_texts_are_cut_as_in_training(make: Make, texts: list[str]) -> None:
    short = next(predict(make(max_source_length=5), [texts[-1]])).probability
    cut = encode_sources([texts[-1]], make().tokenizer, 5).input_ids[0, :-1]
    assert short == pytest.approx(next(predict(make(), [make().tokenizer.decode(cut)])).probability, rel=1e-4)


def test_prediction_repeats_bitwise_and_leaves_the_adapter_as_it_was(make: Make, texts: list[str]) -> None:
    adapter = make()
    adapter.model.train()
    before = {name: value.clone() for name, value in adapter.model.prompt.state_dict().items()}
    first = [found.probability for found in predict(adapter, texts)]
    assert [found.probability for found in predict(adapter, texts)] == first
    assert all(torch.equal(value, before[name]) for name, value in adapter.model.prompt.state_dict().items())


def test_how_codes_are_selected_can_be_asked_for(make: Make, texts: list[str]) -> None:
    adapter = make(skip=False)
    expected, likeliest = list(predict(adapter, texts)), list(predict(adapter, texts, how="argmax"))
    assert set(torch.stack([found.weight_PK for found in likeliest]).unique().tolist()) == {0.0, 1.0}
    assert [found.probability for found in expected] != [found.probability for found in likeliest]


def test_free_text_is_written_greedily(make: Make, talkative: Backbone, texts: list[str]) -> None:
    adapter = make(answers=())
    adapter = adapter._replace(model=VIPModel(talkative.model, adapter.model.prompt))
    sources = encode_sources(texts, adapter.tokenizer, 480)
    expected = adapter.model.generate(sources.input_ids, sources.attention_mask, max_new_tokens=5, do_sample=False)
    found = list(predict(adapter, texts, max_new_tokens=5))
    assert [one.answer for one in found] == adapter.tokenizer.batch_decode(expected, skip_special_tokens=True)
    assert len({one.answer for one in found}) > 1, "all alike: this would show nothing"
    assert all(one.probability == {} for one in found)
    assert all(one.weight_PK.shape == (3, 7) for one in found)


def test_free_text_is_written_from_the_selection_that_is_reported(
    make: Make, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = make(answers=())
    made: list[torch.Tensor] = []
    real = VIPModel.put_prompt

    def spy(self: VIPModel, *arguments: Any, **options: Any) -> Prompted:
        prompted = real(self, *arguments, **options)
        made.append(prompted.weight_BPK)
        return prompted

    monkeypatch.setattr(VIPModel, "put_prompt", spy)
    found = list(predict(adapter, texts, how="sample", max_new_tokens=3))
    # Whatever was put before the texts, for reporting or for writing, has one and the same selection.
    for weight_BPK in made:
        assert torch.equal(weight_BPK, torch.stack([one.weight_PK for one in found]))


def test_settings_of_the_backbone_for_writing_do_not_count(
    make: Make, talkative: Backbone, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = make(answers=())
    adapter = adapter._replace(model=VIPModel(talkative.model, adapter.model.prompt))
    expected = [found.answer for found in predict(adapter, texts, max_new_tokens=5)]
    monkeypatch.setattr(talkative.model.generation_config, "num_beams", 4)
    monkeypatch.setattr(talkative.model.generation_config, "do_sample", True)
    assert [found.answer for found in predict(adapter, texts, max_new_tokens=5)] == expected


def test_the_tokens_that_were_read_are_counted(make: Make, texts: list[str]) -> None:
    adapter = make(max_source_length=9)
    expected = [min(9, len(adapter.tokenizer(text)["input_ids"])) for text in texts]
    assert [found.source_tokens for found in predict(adapter, texts)] == expected
    assert len(set(expected)) > 1
