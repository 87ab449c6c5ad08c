"""What can be had on the suite without a language model: the best constant answer, and a bag of words.

The bag is scikit-learn's: words and pairs of words by TF-IDF, and a logistic regression. It is trained on the training split
and scored on validation, and on that of the domains nobody trains on. Free text has no bag. Test splits are left alone, but
for `--split test`, to stand beside scores of the test split.

    nox -s bench -- suite
"""

import argparse

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from vip_train.scoring import Scoring
from vip_train.tasks import TASKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    split = parser.parse_args().split
    print("| task | metric | constant | bag of words |\n|---|---|---|---|")
    for name in [name for name in TASKS if name.startswith("suite/") and not name.endswith("-new")]:
        train = TASKS[name].load("train", None)
        bag = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=1000, C=10.0))
        if TASKS[name].answers:
            bag.fit([one.source for one in train], [one.target for one in train])
        for task in [TASKS[name], *([TASKS[f"{name}-new"]] if f"{name}-new" in TASKS else [])]:
            scoring, validation = Scoring.of(task), task.load(split, None)
            constant = scoring.baseline(train, validation).scores
            scores = {}
            if task.answers:
                scores = scoring.score(list(bag.predict([one.source for one in validation])), validation).values
            for metric, value in constant.items():
                found = f"{scores[metric]:.3f}" if metric in scores else ""
                print(f"| {task.name} | {metric} | {value:.3f} | {found} |")


if __name__ == "__main__":
    main()
