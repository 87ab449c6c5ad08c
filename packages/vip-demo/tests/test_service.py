"""What is asked for by the name of an adapter: many questions at once, examples, and surveys that are kept."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from vip_demo import Inspection
from vip_demo.service import Question, Service
from vip_train import UserError

TEXT = "The guest Anna arrives on Monday, takes the red room and brings a dog."


@pytest.fixture(scope="module")
def service(vip: Path, make_adapter: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Service:
    folder = tmp_path_factory.mktemp("service")
    (folder / "<b>").mkdir()
    return Service(
        {
            "vip": vip,
            "pt": make_adapter("pt"),
            "cb": make_adapter(task="superglue/cb", answers=("true", "false", "neither")),
            "own": make_adapter(task="", answers=()),
            "broken": folder / "<b>",
        }
    )


def test_questions_are_answered_in_order_whatever_they_ask(service: Service) -> None:
    questions = [
        Question("vip", TEXT, "expected", 0),
        Question("pt", TEXT, "expected", 0),
        Question("vip", "a dog", "argmax", 0),
        Question("vip", "", "expected", 0),
        Question("vip", TEXT, "sample", 3),
        Question("broken", TEXT, "expected", 0),
        Question("elsewhere", TEXT, "expected", 0),
        Question("vip", "a dog", "expected", 7),
        Question("vip", TEXT, "sample", -1),
    ]
    found = service.inspect(questions)
    for question, each in zip(questions, found, strict=True):
        if isinstance(each, Inspection):
            assert (each.text, each.how) == (question.text, question.how)
            assert each.answer == service.one(question).answer
    said = {row: str(each) for row, each in enumerate(found) if isinstance(each, UserError)}
    assert set(said) == {3, 5, 6, 8}
    assert "no text yet" in said[3]
    assert "adapter_config.json: no such file" in said[5]
    assert said[6] == "There is no adapter 'elsewhere' here."
    assert said[8].startswith("The seed must be from 0")
    with pytest.raises(UserError, match="no text yet"):
        service.one(questions[3])


def test_a_built_in_task_comes_with_examples(service: Service) -> None:
    examples = service.start("vip").examples
    assert len({example.group for example in examples}) == len(examples) == 4
    assert all(example.target in example.source for example in examples)
    assert all(example.target != following.target for example, following in pairwise(examples))


def test_other_tasks_come_with_their_wording(service: Service) -> None:
    offered = service.start("cb")
    assert offered.examples == []
    assert "premise: {premise} hypothesis: {hypothesis}" in offered.hint
    assert service.start("own").examples == []
    with pytest.raises(UserError, match="no such file"):
        service.start("broken")


def test_examples_of_an_adapters_own_win(make_adapter: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_adapter(folder=tmp_path / "adapter")
    (tmp_path / "examples.jsonl").write_text(json.dumps({"source": "red dog", "target": "yes"}) + "\n")
    assert [example.source for example in Service({"a": folder}).start("a").examples] == ["red dog"]


def test_the_built_in_data_set_is_looked_through_once(service: Service) -> None:
    told: list[int] = []
    found = service.survey("vip", progress=lambda done, _all: told.append(done))
    assert len(found.examples) == told[-1] == 300
    assert service.survey("vip", progress=lambda *_: pytest.fail("again")) is found


def test_a_visitors_data_set_is_kept_for_its_adapter_and_not_for_ever(service: Service) -> None:
    other = service.survey("vip")._replace(answers=("mine",))
    key = service.keep("vip", other)
    assert service.surveyed("vip", key) is other
    assert service.surveyed("vip", None) is service.survey("vip")
    with pytest.raises(UserError, match="upload some under Data set"):
        service.surveyed("cb", key)
    for _ in range(50):
        service.keep("vip", other)
    with pytest.raises(UserError, match="no longer kept: upload it again"):
        service.surveyed("vip", key)


@pytest.mark.parametrize("name", ["cb", "own"])
def test_where_no_data_are_built_in_some_have_to_be_uploaded(service: Service, name: str) -> None:
    with pytest.raises(UserError, match="upload some under Data set"):
        service.survey(name)
