"""How many examples are read, and which."""

from collections import Counter
from pathlib import Path

import pytest
from vip_train.config import TrainConfig, parse
from vip_train.errors import UserError
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


# --- settings of one's own tables ---


def read(*arguments: str) -> TrainConfig:
    return parse(TrainConfig, arguments, prog="vip-train train")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("[yes, no]", ("yes", "no")),
        ('["yes","no"]', ("yes", "no")),
        ("[on, off, true, False]", ("on", "off", "true", "False")),
        ("['1', 2.0, '012', 1e3]", ("1", "2.0", "012", "1e3")),
        ("[0, 1]", ("0", "1")),
        ("[2020-01-01, very good]", ("2020-01-01", "very good")),
    ],
)
def test_labels_are_texts_as_they_are_written(text: str, labels: tuple[str, ...], tmp_path: Path) -> None:
    assert read("--train-file", "a.csv", "--labels", text).labels == labels
    (path := tmp_path / "settings.yaml").write_text(f"train_file: a.csv\nlabels: {text}\n", encoding="utf-8")
    assert read("--config", str(path)).labels == labels


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--validation-file", "b.csv"), "validation_file=b.csv is of no use without train_file"),
        (("--labels", "[a, b]"), "labels=('a', 'b') is of no use without train_file"),
        (("--skip-bad-rows", "true"), "skip_bad_rows=True is of no use without train_file"),
        (("--train-file", "a.csv", "--task", "notes"), "task=notes must not be given with a file of one's own"),
        (("--train-file", "a.csv", "--data-dir", "d"), "data_dir=d must not be given with a file of one's own"),
        (("--train-file", "a.txt"), "train_file=a.txt must end in .jsonl, .csv, .tsv or one of these and .gz"),
        (("--train-file", "a.csv", "--validation-file", "b.gz"), "validation_file=b.gz must end in"),
        (("--train-file", "a.csv", "--encoding", "utf-9"), "encoding=utf-9 must be an encoding of text"),
        (("--train-file", "a.csv", "--encoding", "hex"), "encoding=hex must be an encoding of text"),
        (("--train-file", "a.csv", "--source-column", " "), "source_column=' ' must be the name of a column"),
        (("--train-file", "a.csv", "--target-column="), "target_column='' must be the name of a column"),
        (("--train-file", "a.csv", "--target-column=source"), "target_column=source must not be the source_column"),
        (("--train-file", "a.csv", "--labels", "[a, b, a]"), "labels=['a', 'b', 'a']: 'a' comes twice"),
        (("--train-file", "a.csv", "--labels", "[a, ' ']"), "labels=['a', ' ']: ' ' must be a text without white space"),
        (("--train-file", "a.csv", "--labels", "[a]"), "labels=['a'] must be at least two"),
        (("--train-file", "a.csv", "--labels", "a,b"), "labels"),
        (("--train-file", "a.csv", "--labels", "[a, null]"), "labels"),
    ],
)
def test_settings_of_own_data_that_mean_nothing_are_refused(arguments: tuple[str, ...], named: str) -> None:
    with pytest.raises(UserError) as caught:
        read(*arguments)
    assert named in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
