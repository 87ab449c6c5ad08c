"""A batch of several adapters against the same rows run apart: what is read, scored, written, selected, and how often."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from vip_core import QuantizerConfig
from vip_train.adapter import Adapter, AdapterConfig
from vip_train.backbones import Backbone, load_backbone
from vip_train.data import encode_answers, encode_sources
from vip_train.mixed import put_prompts
from vip_train.model import VIPModel
from vip_train.predict import predict, predict_mixed

Build = Callable[..., VIPModel]
Models = dict[str, VIPModel]
WORDS = ("ba", "milotura", "ke lo")
# The longest prompt stands before the shortest text and the other way round; rows of one adapter are not neighbours.
NAMES = ("long", "soft", "vip", "chosen", "vip", "soft")


@pytest.fixture
def models(build: Build, trained: Build, talkative: Backbone) -> Models:
    """Five adapters that differ in method, prompt length and codes, around one backbone; one of them stays unused."""
    few = QuantizerConfig(codes=3, draws=4, warmup_steps=0)
    made = {
        "vip": build(1),
        "soft": build(2, method="pt", prompt_length=1),
        "chosen": build(3, method="vip-q", prompt_length=5, quantizer=few, skip=False),
        "long": build(4, method="vip-c", prompt_length=17),
        "unused": build(5, prompt_length=40),
    }
    return {name: VIPModel(talkative.model, trained(model).prompt).eval() for name, model in made.items()}


@pytest.fixture
def source(backbone: Backbone, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Token ids and mask of six texts of different lengths, the shortest first."""
    found = encode_sources([texts[0], texts[3], texts[1], texts[2], texts[3], texts[0]], backbone.tokenizer, 480)
    return found.input_ids, found.attention_mask


def alone(source: tuple[Tensor, Tensor], row: int) -> tuple[Tensor, Tensor]:
    input_ids, mask_BS = source
    length = int(mask_BS[row].sum())
    return input_ids[row : row + 1, :length], mask_BS[row : row + 1, :length]


def padded(source: tuple[Tensor, Tensor], left: int, right: int) -> tuple[Tensor, Tensor]:
    input_ids, mask_BS = (torch.nn.functional.pad(tensor, (left, right)) for tensor in source)
    return input_ids, mask_BS


def test_each_row_reads_its_own_prompt_directly_before_its_text(models: Models, source: tuple[Tensor, Tensor]) -> None:
    found = put_prompts(models, NAMES, *source)
    for row, name in enumerate(NAMES):
        expected = models[name].put_prompt(*alone(source, row))
        _, length, codes = expected.weight_BPK.shape
        read = expected.mask_BL.shape[1]
        assert found.mask_BL[row].tolist() == [1] * read + [0] * (found.mask_BL.shape[1] - read)
        torch.testing.assert_close(found.embeds_BLD[row, :read], expected.embeds_BLD[0])
        torch.testing.assert_close(found.prompt_BPD[row, :length], expected.prompt_BPD[0])
        torch.testing.assert_close(found.weight_BPK[row, :length, :codes], expected.weight_BPK[0])
        for padding in (found.prompt_BPD[row, length:], found.weight_BPK[row, length:], found.weight_BPK[row, :, codes:]):
            assert not padding.any()
    assert found.mask_BL.shape[1] == int(found.mask_BL.sum(1).max()), "no column is padding alone"
    assert found.prompt_BPD.shape == (6, 17, 32), "the unused adapter is not made"


@pytest.mark.parametrize(("left", "right"), [(0, 0), (5, 0), (3, 4)])
def test_answers_are_scored_as_apart(
    left: int, right: int, models: Models, source: tuple[Tensor, Tensor], backbone: Backbone
) -> None:
    answers_AT = encode_answers(WORDS, backbone.tokenizer)
    prompted = put_prompts(models, NAMES, *padded(source, left, right))
    # Any of the models reads it: they share the backbone.
    found_BA = models["unused"].score_answers(prompted, answers_AT)
    for row, name in enumerate(NAMES):
        apart = models[name].score_answers(models[name].put_prompt(*alone(source, row)), answers_AT)
        torch.testing.assert_close(found_BA[row], apart[0])
    assert len({tuple(row) for row in found_BA.tolist()}) == 6, "rows alike: this would show nothing"


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(("left", "right"), [(0, 0), (3, 4)])
def test_text_is_written_as_apart(left: int, right: int, beams: int, models: Models, source: tuple[Tensor, Tensor]) -> None:
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "num_beams": beams}
    written = models["soft"].write(put_prompts(models, NAMES, *padded(source, left, right)), **options)
    for row, name in enumerate(NAMES):
        assert torch.equal(written[row : row + 1], models[name].generate(*alone(source, row), **options)), row
    assert len({tuple(row) for row in written.tolist()}) > 3, "rows alike: this would show nothing"


def test_how_codes_are_selected_can_be_asked_for(models: Models, source: tuple[Tensor, Tensor]) -> None:
    weight_BPK = put_prompts(models, NAMES, *source, how="argmax").weight_BPK
    assert set(weight_BPK.unique().tolist()) == {0.0, 1.0}


def test_a_row_selects_from_the_codes_it_may(models: Models, source: tuple[Tensor, Tensor]) -> None:
    allowed_BK = torch.zeros(len(NAMES), 7, dtype=torch.bool)
    allowed_BK[:, 2] = True  # of the codes of whichever model
    found = put_prompts(models, NAMES, *source, allowed_BK=allowed_BK)
    for row, name in enumerate(NAMES):
        vip = models[name].prompt.config
        taken_K = found.weight_BPK[row, : vip.prompt_length].sum(0)
        assert float(taken_K[2]) == pytest.approx(vip.prompt_length if vip.quantizes else 0.0)
        assert float(taken_K.sum()) == pytest.approx(float(taken_K[2]))


def test_the_loss_terms_are_the_mean_over_rows(models: Models, source: tuple[Tensor, Tensor]) -> None:
    expected = [models[name].put_prompt(*alone(source, row)).commitment for row, name in enumerate(NAMES)]
    torch.testing.assert_close(put_prompts(models, NAMES, *source).commitment, torch.stack(expected).mean())


def test_a_bf16_backbone_reads_bf16(models: Models, source: tuple[Tensor, Tensor], tiny_backbone: Any) -> None:
    rounded = load_backbone(str(tiny_backbone), precision="bf16").model
    found = put_prompts({name: VIPModel(rounded, model.prompt) for name, model in models.items()}, NAMES, *source)
    assert found.embeds_BLD.dtype == torch.bfloat16
    assert found.prompt_BPD.dtype == found.weight_BPK.dtype == torch.float32


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("vip",) * 5 + ("vpi",), "'vpi' is unknown, there are 'vip', 'soft'"),
        (("vip",) * 5, "5 of them for 6 rows"),
        ((), "0 of them for 6 rows"),
    ],
)
def test_rows_without_an_adapter_are_refused(
    names: tuple[str, ...], said: str, models: Models, source: tuple[Tensor, Tensor]
) -> None:
    with pytest.raises(ValueError, match=said):
        put_prompts(models, names, *source)
    with pytest.raises(ValueError, match="there are none"):
        put_prompts({}, NAMES, *source)


def test_an_adapter_with_a_backbone_of_its_own_is_refused(
    models: Models, source: tuple[Tensor, Tensor], tiny_backbone: Any
) -> None:
    models["soft"] = VIPModel(load_backbone(str(tiny_backbone)).model, models["soft"].prompt)
    with pytest.raises(ValueError, match="'soft' has a backbone of its own"):
        put_prompts(models, NAMES, *source)


# --- answers ---


@pytest.fixture
def adapters(models: Models, talkative: Backbone) -> dict[str, Adapter]:
    """Of those models: two with answers of their own, two that write; each keeps another number of source tokens."""
    answers = {"vip": WORDS, "long": ("ra", "dor"), "unused": WORDS}

    def config(name: str, kept: int) -> AdapterConfig:
        return AdapterConfig(
            format_version=1,
            vip=models[name].prompt.config,
            backbone="t5",
            backbone_fingerprint="",
            dim=32,
            task="",
            answers=answers.get(name, ()),
            max_source_length=kept,
        )

    return {
        name: Adapter(model, talkative.tokenizer, config(name, 20 + 3 * number))
        for number, (name, model) in enumerate(models.items())
    }


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_predictions_are_those_of_each_adapter_alone(batch_size: int, adapters: dict[str, Adapter], texts: list[str]) -> None:
    sources = [(name, texts[number % 4] * (1 + number % 2)) for number, name in enumerate(NAMES)]
    found = list(predict_mixed(adapters, sources, batch_size=batch_size, max_new_tokens=5))
    assert len(found) == len(sources)
    for (name, text), one in zip(sources, found, strict=True):
        expected = next(predict(adapters[name], [text], max_new_tokens=5))
        assert one.answer == expected.answer
        assert one.probability == pytest.approx(expected.probability, rel=1e-4)
        assert tuple(one.probability) == adapters[name].config.answers
        torch.testing.assert_close(one.weight_PK, expected.weight_PK)
    assert len({one.answer for one in found if not one.probability}) > 1, "all alike: this would show nothing"


def test_the_backbone_reads_a_batch_once_whatever_its_adapters(
    adapters: dict[str, Adapter], texts: list[str], talkative: Backbone
) -> None:
    rows: list[int] = []
    hook = talkative.model.get_encoder().register_forward_hook(lambda _, __, output: rows.append(len(output[0])))
    list(predict_mixed(adapters, [("vip", texts[0]), ("long", texts[1]), ("unused", texts[2]), ("vip", texts[3])]))
    assert rows == [4]
    rows.clear()
    list(predict_mixed(adapters, list(zip(NAMES, texts + texts, strict=False)), max_new_tokens=2))
    hook.remove()
    assert rows == [3, 3], "once for the scored rows and once for the written ones, none twice"


def test_no_texts_are_no_answers(adapters: dict[str, Adapter]) -> None:
    assert list(predict_mixed(adapters, [])) == []


def test_an_unknown_adapter_is_named(adapters: dict[str, Adapter], texts: list[str]) -> None:
    with pytest.raises(ValueError, match="'vpi' is unknown, there are 'vip', 'soft'"):
        list(predict_mixed(adapters, [("vpi", texts[0])]))
