"""The registry: every task under its name, whole, and an unknown name with those there are."""

import pytest
from vip_train.errors import UserError
from vip_train.metrics import METRICS
from vip_train.tasks import TASKS, TextTask, get_task

SUPERGLUE = ("boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc")
MRQA = ("squad", "newsqa", "triviaqa", "searchqa", "hotpotqa", "naturalquestions")
OTHER_DOMAINS = ("bioasq", "drop", "duorc", "race", "relationextraction", "textbookqa")


def test_the_tasks_of_the_paper_are_there() -> None:
    wanted = {f"superglue/{name}" for name in SUPERGLUE} | {f"mrqa/{name}" for name in MRQA + OTHER_DOMAINS}
    wanted |= {"squad", "anli/r1", "anli/r2", "anli/r3", "mnli", "conll2003", "semeval2010-task8", "tacred"}
    assert wanted <= set(TASKS)
    assert {name for name, task in TASKS.items() if "train" not in task.files} == {
        *(f"mrqa/{name}" for name in OTHER_DOMAINS),
        *("superglue/ax-b", "superglue/ax-g", "mnli-mismatched"),
    }


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_found_by_its_name_and_can_be_had(name: str) -> None:
    task = get_task(name)
    assert isinstance(task, TextTask)
    assert task.name == name
    assert task.fields
    assert task.generate or task.folder
    assert len(set(task.answers.values())) == len(task.answers) != 1
    assert task.metrics
    assert set(task.metrics) <= set(METRICS)
    assert (task.parts, task.weights) == ({"": task}, {"": 1.0})


@pytest.mark.parametrize("name", TASKS)
def test_what_is_on_the_hub_needs_no_script(name: str) -> None:
    """A branch that the hub made of Parquet, or a commit that holds it; never the main branch, which changes."""
    if (hub := TASKS[name].hub) is not None:
        assert hub.revision == "refs/convert/parquet" or len(hub.revision) == 40
        assert set(hub.label_names) <= set(TASKS[name].answers)
        assert set(hub.splits or {"train", "validation"}) >= set(TASKS[name].files)


def test_answers_are_words_of_a_small_vocabulary() -> None:
    """T5's vocabulary has no angle brackets, braces, tildes, carets or backslashes: they would all be the unknown token."""
    for task in TASKS.values():
        for text in [task.template.format(**dict.fromkeys(task.fields, "")), *task.answers.values()]:
            assert not set(text) & set("<>{}~^\\"), task.name


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError) as caught:
        get_task("superglue/xyz")
    assert str(caught.value) == f"task=superglue/xyz: is unknown, known are {', '.join(sorted(TASKS))}"
