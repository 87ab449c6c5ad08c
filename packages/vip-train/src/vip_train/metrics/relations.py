"""The official scores of the relation data sets, counted by scikit-learn."""

from collections.abc import Sequence

from vip_train.tasks.semeval2010_task8 import RELATIONS
from vip_train.tasks.tacred import NO_RELATION
from vip_train.tasks.task import Example


def directed_macro_f1(answers: Sequence[str], examples: Sequence[Example], labels: Sequence[str]) -> float:
    """SemEval-2010 Task 8's official score: macro-F1 over the nine relations without Other; a wrong direction is wrong.

    A relation given in the wrong direction is one too many and one missed of that relation. An example without an answer is
    missed only. Relations that no example has are left out of the mean, as the official scorer does.
    """
    from sklearn.metrics import multilabel_confusion_matrix

    gold = [example.target for example in examples]
    there = [relation for relation in RELATIONS if any(label.startswith(relation) for label in set(gold))]
    directed = [f"{relation}({order})" for relation in there for order in ("e1,e2", "e2,e1")]
    if not directed:
        return 0.0
    counts = multilabel_confusion_matrix(gold, list(answers), labels=directed)
    # The two directions of a relation together: what is given in the other one is wrong for both.
    both = counts.reshape(len(there), 2, 2, 2).sum(1)
    right, wrong = both[:, 1, 1], both[:, 0, 1] + both[:, 1, 0]
    return float((2 * right / (2 * right + wrong)).mean())


def positive_micro_f1(answers: Sequence[str], examples: Sequence[Example], labels: Sequence[str]) -> float:
    """TACRED's official score: micro-F1 over all relations but no_relation."""
    from sklearn.metrics import f1_score

    positive = [label for label in labels if label != NO_RELATION]
    gold = [example.target for example in examples]
    return float(f1_score(gold, list(answers), labels=positive, average="micro", zero_division=0))
