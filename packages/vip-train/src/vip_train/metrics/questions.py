"""MultiRC's two scores: answers are judged one by one, and belong to questions."""

from collections.abc import Sequence

from vip_train.tasks.task import Example


def f1a(answers: Sequence[str], examples: Sequence[Example], labels: Sequence[str]) -> float:
    """F1 of the last label, "right", over all answers of all questions together."""
    from sklearn.metrics import f1_score

    gold = [example.target for example in examples]
    return float(f1_score(gold, list(answers), labels=[labels[-1]], average="micro", zero_division=0))


def question_match(answers: Sequence[str], examples: Sequence[Example], labels: Sequence[str]) -> float:
    """Share of questions whose answers are all judged right. `Example.question` says which belong together."""
    whole: dict[str, bool] = {}
    for answer, example in zip(answers, examples, strict=True):
        whole[example.question] = whole.get(example.question, True) and answer == example.target
    return sum(whole.values()) / len(whole)
