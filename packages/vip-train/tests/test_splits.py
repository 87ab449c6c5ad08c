"""How many examples are read, and which."""

from collections import Counter

import pytest
from vip_train.config import TrainConfig
from vip_train.splits import DataConfig, sample
from vip_train.tasks import Example, get_task


def examples(count: int, *, task: str = "", per_question: int = 0) -> list[Example]:
    return [
        Example(f"{task} {row}", "", "", question=f"q{row // per_question}" if per_question else "", task=task)
        for row in range(count)
    ]


def test_without_a_limit_all_are_read() -> None:
    assert sample(every := examples(5), None) is every


@pytest.mark.parametrize("limit", [1, 3, 50])
def test_so_many_are_drawn_in_their_order_and_the_same_each_time(limit: int) -> None:
    every = examples(50)
    drawn = sample(every, limit)
    assert len(drawn) == limit
    assert [one for one in every if one in drawn] == drawn == sample(every, limit)
    if 1 < limit < 50:
        assert drawn != every[:limit]


def test_a_limit_above_what_is_there_changes_nothing() -> None:
    assert sample(every := examples(5), 6) == every


def test_questions_are_whole() -> None:
    every = examples(60, per_question=4)
    whole = Counter(one.question for one in sample(every, 10))
    assert sorted(whole.values()) == [4, 4]
    assert len(sample(every, 3)) == 4, "the first is taken even if it is larger"


def test_each_part_of_a_mixture_has_the_limit_of_its_own() -> None:
    drawn = sample([*examples(30, task="a"), *examples(4, task="b")], 6)
    assert Counter(one.task for one in drawn) == {"a": 6, "b": 4}


@pytest.mark.parametrize("name", ["max_train_examples", "max_validation_examples"])
def test_a_limit_of_none_at_all_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
        DataConfig(**{name: 0})  # type: ignore[arg-type]


def test_a_run_s_settings_choose_the_split_s_own_limit() -> None:
    config = TrainConfig(max_train_examples=7, max_validation_examples=3)
    task = get_task("forms")
    assert [len(config.load(task, split)) for split in ("train", "validation")] == [7, 3]
