"""Codes switched off and forced, against the same by hand; and that it shows on the bundled adapter."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from vip_core.config import Evaluation
from vip_demo import bundled_adapter, effects, inspect, only, without
from vip_demo.effects import MOST_EFFECTS, most_effect
from vip_demo.service import Service
from vip_train import Adapter, Backbone, UserError, load_adapter, predict

TEXT = "The guest Anna arrives on Monday, takes the red room and brings a dog."


@pytest.mark.parametrize("how", get_args(Evaluation))
def test_switching_off_is_selecting_among_the_others(adapter: Adapter, how: Evaluation) -> None:
    before = inspect(adapter, [TEXT], how, seed=3)[0]
    off = before.code_U[:2]
    found = without(adapter, before, off, seed=3)
    allowed_1K = torch.ones(1, 60, dtype=torch.bool)
    allowed_1K[0, list(off)] = False
    torch.manual_seed(3)
    expected = next(predict(adapter, [TEXT], how=how, allowed_NK=allowed_1K))
    assert found.codes == tuple(sorted(off))
    assert found.found.probability == pytest.approx(expected.probability)
    assert not set(off) & set(found.found.code_U)
    assert found.change == pytest.approx({name: expected.probability[name] - p for name, p in before.probability.items()})
    assert sum(found.change.values()) == pytest.approx(0.0, abs=1e-6)
    assert found.distance == pytest.approx(sum(map(abs, found.change.values())) / 2)


def test_switching_off_what_is_not_taken_changes_nothing(adapter: Adapter) -> None:
    before = inspect(adapter, [TEXT], "argmax")[0]
    unused = next(code for code in range(60) if code not in before.code_U)
    found = without(adapter, before, [unused])
    assert found.distance == pytest.approx(0.0, abs=1e-6)
    assert found.found.code_U == before.code_U


def test_forcing_gives_every_token_the_one_code(adapter: Adapter) -> None:
    before = inspect(adapter, [TEXT])[0]
    found = only(adapter, before, before.code_U[3])
    assert found.found.code_U == (before.code_U[3],)
    assert found.found.weight_PU.tolist() == [[1.0]] * 6


def test_each_effect_is_that_of_the_code_alone(adapter: Adapter) -> None:
    before = inspect(adapter, [TEXT])[0]
    found = effects(adapter, before)
    assert [effect.codes for effect in found] == [(code,) for code in before.code_U[:MOST_EFFECTS]]
    for effect in found[:3]:
        alone = without(adapter, before, effect.codes)
        assert effect.change == pytest.approx(alone.change, abs=1e-5)
    most = most_effect(found)
    assert most.distance == max(effect.distance for effect in found)


def test_effects_on_a_drawn_selection_are_on_the_same_draw(adapter: Adapter) -> None:
    before = inspect(adapter, [TEXT], "sample", seed=5)[0]
    for effect in effects(adapter, before, seed=5)[:3]:
        assert effect.change == pytest.approx(without(adapter, before, effect.codes, seed=5).change, abs=1e-5)


def test_of_free_text_it_is_seen_whether_it_changed(make_adapter: Callable[..., Path], backbone: Backbone) -> None:
    free = load_adapter(make_adapter(task="", answers=()), backbone=backbone)
    before = inspect(free, [TEXT])[0]
    found = without(free, before, before.code_U[:1])
    assert found.change == {}
    assert found.distance == float(found.found.answer != before.answer)


@pytest.mark.parametrize(
    ("codes", "sentence"),
    [([60], "There is no code 60: this codebook has 0 to 59"), ([-1], "no code -1"), (range(60), "At least one")],
)
def test_what_cannot_be_switched_is_refused(adapter: Adapter, codes: list[int], sentence: str) -> None:
    before = inspect(adapter, [TEXT])[0]
    with pytest.raises(UserError, match=sentence):
        without(adapter, before, codes)


@pytest.mark.parametrize("method", ["pt", "vip-c"])
def test_without_a_codebook_there_is_nothing_to_switch(
    make_adapter: Callable[..., Path], backbone: Backbone, method: str
) -> None:
    plain = load_adapter(make_adapter(method), backbone=backbone)
    with pytest.raises(UserError, match="no codes to switch"):
        effects(plain, inspect(plain, [TEXT])[0])


def test_the_most_used_code_of_a_bundled_example_matters() -> None:
    service = Service({"bundled": bundled_adapter()})
    adapter = service.shelf.adapter("bundled")
    moved = [
        without(adapter, before, before.code_U[:1]).distance
        for before in inspect(adapter, [example.source for example in service.start("bundled").examples])
    ]
    assert max(moved) > 0.2, moved
