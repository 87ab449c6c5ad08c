"""The reviews again, filed in two forms: domain and review decide the answer, and nothing less does."""

from collections import Counter
from typing import Any

import pytest
from vip_train.tasks import get_task

FORMS, REVIEWS = get_task("forms"), get_task("reviews")


@pytest.mark.parametrize("split", ["train", "validation"])
def test_domain_and_review_decide_the_answer(split: Any) -> None:
    for filed, review in zip(FORMS.load(split, None), REVIEWS.load(split, None), strict=True):
        assert review.source == f"{filed.source} Good news, yes or no?"
        assert filed.group == review.group
        statements = {"yes": "true", "no": "false"} if filed.group in ("bank", "hotel") else {}
        assert filed.target == statements.get(review.target, review.target)


def test_a_constant_answer_is_right_in_three_rows_of_ten() -> None:
    examples = FORMS.load("validation", None)
    shares = {target: count / len(examples) for target, count in Counter(example.target for example in examples).items()}
    assert shares == pytest.approx({"yes": 0.3, "no": 0.3, "true": 0.2, "false": 0.2})
