"""The registry: every task under its name, whole, and an unknown name with those there are."""

import pytest
from vip_train.errors import UserError
from vip_train.tasks import TASKS, ClassificationTask, get_task


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_found_by_its_name_and_can_be_had(name: str) -> None:
    task = get_task(name)
    assert isinstance(task, ClassificationTask)
    assert task.name == name
    assert task.fields
    assert task.generate or task.hub
    assert len(set(task.answers.values())) == len(task.answers) > 1


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError) as caught:
        get_task("superglue/xyz")
    assert str(caught.value) == f"task=superglue/xyz: is unknown, known are {', '.join(sorted(TASKS))}"
