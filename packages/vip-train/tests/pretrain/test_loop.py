"""A short pretraining run: what its folder holds, that it repeats, learns, and leaves nothing behind when it fails."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, T5ForConditionalGeneration
from vip_train.backbones import Backbone
from vip_train.errors import UserError
from vip_train.pretrain.loop import PretrainConfig, ShapeConfig, _forward, _learn, build_model, pretrain
from vip_train.pretrain.objectives import padded

Configure = Callable[..., PretrainConfig]


def curve(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "loss.jsonl").read_text(encoding="utf-8").splitlines()]


def refusal(config: PretrainConfig) -> str:
    """The one line that says why there is no backbone; makes sure that nothing of it is left."""
    before = sorted(config.output.parent.iterdir())
    with pytest.raises(UserError) as caught:
        pretrain(config)
    assert sorted(config.output.parent.iterdir()) == before
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_the_folder_is_a_checkpoint_with_a_card_and_the_curve(tiny_backbone: Path, shape: ShapeConfig) -> None:
    names = {path.name for path in tiny_backbone.iterdir()}
    assert {"README.md", "loss.jsonl", "config.json", "model.safetensors", "tokenizer.json"} <= names
    assert len(AutoTokenizer.from_pretrained(tiny_backbone)) == shape.vocabulary
    model = T5ForConditionalGeneration.from_pretrained(tiny_backbone)
    assert (model.config.d_model, model.config.num_layers, model.config.num_decoder_layers) == (32, 1, 1)
    assert (model.config.pad_token_id, model.config.eos_token_id, model.config.decoder_start_token_id) == (0, 1, 0)


def test_weights_are_bf16_and_the_vocabulary_is_saved_once(tiny_backbone: Path, shape: ShapeConfig) -> None:
    state = load_file(tiny_backbone / "model.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}
    assert sum(tensor.shape == (shape.vocabulary, shape.width) for tensor in state.values()) == 1


def test_the_curve_ends_with_the_last_step_and_all_held_out_losses(tiny_backbone: Path) -> None:
    last = curve(tiny_backbone)[-1]
    assert (last["stage"], last["step"]) == ("prefix", 12)
    for name in ("training_loss", "held_out_span_loss", "held_out_prefix_loss", "held_out_answer_loss"):
        assert 0 < last[name] < 10


def test_the_same_seed_makes_the_same_weights(tiny_backbone: Path, pretraining: Configure, tmp_path: Path) -> None:
    torch.manual_seed(99)
    again = pretrain(pretraining(output=tmp_path / "again"))
    other = pretrain(pretraining(output=tmp_path / "other", seed=1))
    weights = [(folder / "model.safetensors").read_bytes() for folder in (tiny_backbone, again, other)]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


@pytest.mark.parametrize("stage", ["span", "prefix", "answer"])
def test_each_stage_alone_learns(stage: str, pretraining: Configure, tmp_path: Path) -> None:
    steps = {"span_steps": 0, "prefix_steps": 0} | {f"{stage}_steps": 120}
    folder = pretrain(pretraining(output=tmp_path / "alone", learning_rate=0.05, batch_size=2, **steps))
    first, last = curve(folder)
    assert (first["step"], last["step"]) == (100, 120)
    assert {first["stage"], last["stage"]} == {stage}
    assert last["training_loss"] < first["training_loss"]


def test_stages_follow_each_other_and_each_has_its_rate(pretraining: Configure) -> None:
    config = pretraining(output=Path("out"), span_steps=2, prefix_steps=4, answer_steps=2)
    assert config.steps == 8
    assert [config.stage(step) for step in range(1, 9)] == [
        *(("span", 1.0), ("span", 1.0)),
        *(("prefix", 1.0), ("prefix", 0.75), ("prefix", 0.5), ("prefix", 0.25)),
        *(("answer", 0.5), ("answer", 0.25)),
    ]


def test_a_run_goes_on_from_an_earlier_one(tiny_backbone: Path, pretraining: Configure, tmp_path: Path) -> None:
    other = ShapeConfig(vocabulary=100, width=64, heads=4)
    steps = {"span_steps": 0, "prefix_steps": 0, "answer_steps": 2}
    folder = pretrain(pretraining(output=tmp_path / "more", start=tiny_backbone, shape=other, **steps))
    assert curve(folder)[:-1] == curve(tiny_backbone)
    assert (curve(folder)[-1]["stage"], curve(folder)[-1]["step"]) == ("answer", 2)
    before, after = (load_file(path / "model.safetensors") for path in (tiny_backbone, folder))
    assert {name: value.shape for name, value in after.items()} == {name: value.shape for name, value in before.items()}
    assert not torch.equal(after["shared.weight"], before["shared.weight"])
    assert (folder / "tokenizer.json").read_bytes() == (tiny_backbone / "tokenizer.json").read_bytes()
    assert "## The run before" in (folder / "README.md").read_text(encoding="utf-8")


def test_instructions_are_learned_and_measured(pretraining: Configure, tmp_path: Path) -> None:
    steps = {"span_steps": 0, "prefix_steps": 0, "answer_steps": 120, "instruction_share": 1.0, "suite_paragraphs": 40}
    folder = pretrain(pretraining(output=tmp_path / "told", learning_rate=0.05, batch_size=4, **steps))
    first, last = curve(folder)
    assert last["training_loss"] < first["training_loss"]
    assert last["held_out_instruction_loss"] > 0
    assert 0 <= last["held_out_instructions_right"] <= 1
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| with it | 40 paragraphs in the style of the suite's training domains |" in card
    assert f"loss {last['held_out_instruction_loss']:.3f} nats per token" in card
    assert "--instruction-share 1.0 --suite-paragraphs 40" in card


def test_a_row_reads_what_it_reads_alone(talkative: Backbone) -> None:
    model = talkative.model.eval()
    short, long = [9, 12, 30, 1], [8, 40, 41, 42, 43, 44, 45, 46, 1]
    filled = torch.tensor([[*short, *[0] * 5]])
    with torch.no_grad():
        alone = _forward(model, padded([short], [[7, 1]])).logits
        beside = _forward(model, padded([short, long], [[7, 1], [7, 1]])).logits[:1]
        with torch.autocast("cpu", torch.bfloat16):
            unmasked = model(input_ids=filled, attention_mask=torch.ones_like(filled), labels=torch.tensor([[7, 1]])).logits
    assert (unmasked - alone).abs().max() > 10 * (beside - alone).abs().max()


def test_a_batch_in_parts_has_the_gradient_of_the_whole(talkative: Backbone) -> None:
    model = talkative.model.eval().requires_grad_(True)
    generator = torch.Generator().manual_seed(0)

    def row(length: int) -> list[int]:
        return [*torch.randint(5, 200, (length,), generator=generator).tolist(), 1]

    pair = padded([row(length) for length in (40, 3, 12, 25, 7, 9)], [row(length) for length in (1, 8, 2, 2, 5, 1)])
    whole = _forward(model, pair).loss
    whole.backward()
    expected = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    assert _learn(model, pair) == pytest.approx(whole.item(), rel=2e-3)
    for name, weight in model.named_parameters():
        off = (weight.grad - expected[name]).norm() / expected[name].norm()
        assert off < 0.05, name  # bf16 autocast; a part that counted as much as any other is off by tenths


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++, with which torch.compile makes its kernels")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")  # about a part of torch itself
def test_a_compiled_run_learns_what_a_plain_one_does(pretraining: Configure, tmp_path: Path) -> None:
    steps = {"span_steps": 6, "prefix_steps": 0}
    expected = pretrain(pretraining(output=tmp_path / "plain", **steps))
    folder = pretrain(pretraining(output=tmp_path / "compiled", compile=True, **steps))
    torch._dynamo.reset()
    plain, found = (curve(path)[-1] for path in (expected, folder))
    for name in ("training_loss", "held_out_span_loss", "held_out_prefix_loss"):
        assert found[name] == pytest.approx(plain[name], rel=0.02)
    assert "--compile true" in (folder / "README.md").read_text(encoding="utf-8")
    plain_names, names = (set(load_file(path / "model.safetensors")) for path in (expected, folder))
    assert names == plain_names


def test_compilation_without_a_compiler_is_refused(
    pretraining: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "compile: needs the C++ compiler no-such-compiler" in refusal(pretraining(output=tmp_path / "out", compile=True))


def test_an_earlier_run_that_is_not_there_is_named(pretraining: Configure, tmp_path: Path) -> None:
    assert str(tmp_path / "gone") in refusal(pretraining(output=tmp_path / "out", start=tmp_path / "gone"))


def test_a_model_has_the_size_it_was_asked_for(shape: ShapeConfig) -> None:
    model = build_model(shape)
    assert model.get_input_embeddings().weight.shape == (300, 32)
    assert (len(model.encoder.block), len(model.decoder.block), model.config.d_kv) == (1, 1, 16)
    assert not [module for module in model.modules() if isinstance(module, torch.nn.Dropout) and module.p > 0]


def test_an_output_in_use_is_refused_and_kept(pretraining: Configure, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").write_text("mine")
    assert str(tmp_path / "used") in refusal(pretraining(output=tmp_path / "used"))
    assert (tmp_path / "used" / "thesis.txt").read_text() == "mine"


def test_a_missing_corpus_is_named(pretraining: Configure, tmp_path: Path) -> None:
    assert str(tmp_path / "no.xz") in refusal(pretraining(corpus=tmp_path / "no.xz", output=tmp_path / "out"))


@pytest.mark.parametrize("text", ["", "\n\n", "one paragraph alone\n", "one\ntwo\n"])
def test_too_little_text_is_refused(text: str, pretraining: Configure, tmp_path: Path) -> None:
    path = tmp_path / "small.txt"
    path.write_text(text, encoding="utf-8")
    assert refusal(pretraining(corpus=path, output=tmp_path / "out")).startswith(f"{path}: ")


def test_a_vocabulary_without_room_for_the_letters_is_refused(pretraining: Configure, corpus: Path, tmp_path: Path) -> None:
    small = ShapeConfig(vocabulary=16, sentinels=8, width=32, heads=2)
    assert refusal(pretraining(shape=small, output=tmp_path / "out")).startswith(f"{corpus}: ")


def test_a_held_out_part_shorter_than_a_window_is_refused_before_training(
    pretraining: Configure, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # 600 paragraphs hold out 3, which have fewer than 500 tokens.
    assert "500" in refusal(pretraining(output=tmp_path / "out", window=500))
    assert "pretrain:" not in capfd.readouterr().err, "the progress bar had started"


def test_a_window_that_needs_more_sentinels_is_refused(pretraining: Configure, corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    text = corpus.read_text(encoding="utf-8")
    path.write_text(text + " ".join(text.split()[:1000]), encoding="utf-8")  # the last paragraph is held out
    assert "need 15 sentinels, the vocabulary has 8" in refusal(pretraining(corpus=path, output=tmp_path / "out", window=300))


def test_a_loss_that_is_not_finite_is_refused_with_what_to_change(
    pretraining: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(shape: ShapeConfig) -> T5ForConditionalGeneration:
        model = build_model(shape)
        with torch.no_grad():
            model.get_input_embeddings().weight[5:] = float("nan")
        return model

    # torch's Adafactor bounds its step, so no learning rate does this on such a model.
    monkeypatch.setattr("vip_train.pretrain.loop.build_model", broken)
    assert "lower learning_rate=0.5" in refusal(pretraining(output=tmp_path / "out", learning_rate=0.5))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"paragraphs_for_vocabulary": 0}, "paragraphs_for_vocabulary=0"),
        ({"span_steps": -1}, "span_steps=-1"),
        ({"prefix_steps": -1}, "prefix_steps=-1"),
        ({"threads": -1}, "threads=-1"),
        ({"suite_paragraphs": -1}, "suite_paragraphs=-1"),
        ({"instruction_share": 1.5}, "instruction_share=1.5"),
        ({"instruction_share": float("nan")}, "instruction_share=nan"),
        ({"window": 7}, "window=7"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"span_steps": 0, "prefix_steps": 0}, "steps"),
    ],
)
def test_a_setting_out_of_range_is_named(values: dict[str, float], said: str, pretraining: Configure) -> None:
    with pytest.raises(ValueError, match=said):
        pretraining(output=Path("out"), **values)


@pytest.mark.parametrize(
    ("values", "said"),
    [({"width": 30, "heads": 4}, "width=30"), ({"decoder_layers": 0}, "decoder_layers=0"), ({"sentinels": 3}, "sentinels=3")],
)
def test_a_size_out_of_range_is_named(values: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ShapeConfig(**values)


def test_more_sentinels_than_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="sentinels=40"):
        ShapeConfig(vocabulary=40, sentinels=40)


def test_the_default_size_fits_the_package() -> None:
    # bf16; the limit of what ships inside the package is 8 MB.
    parameters = build_model(ShapeConfig()).num_parameters()
    assert 3_000_000 < parameters < 4_000_000
