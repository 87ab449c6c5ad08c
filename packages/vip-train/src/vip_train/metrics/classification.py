"""Scores of labels, counted by scikit-learn."""

from collections.abc import Sequence

from vip_train.tasks.task import Example


def accuracy(answers: Sequence[str], examples: Sequence[Example], labels: Sequence[str]) -> float:
    """Share of answers that are the target, up to white space around them."""
    from sklearn.metrics import accuracy_score

    gold = [example.target.strip() for example in examples]
    return float(accuracy_score(gold, [answer.strip() for answer in answers]))


def macro_f1(answers: Sequence[str], examples: Sequence[Example], labels: Sequence[str]) -> float:
    """Mean over all labels of the label's F1, as CB is scored; a label that is neither given nor right has 0."""
    from sklearn.metrics import f1_score

    gold = [example.target for example in examples]
    return float(f1_score(gold, list(answers), labels=list(labels), average="macro", zero_division=0))


def matthews(answers: Sequence[str], examples: Sequence[Example], labels: Sequence[str]) -> float:
    """Matthews' correlation coefficient, as AX-b is scored: -1 to 1, and 0 for any constant answer."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef([example.target for example in examples], list(answers)))
