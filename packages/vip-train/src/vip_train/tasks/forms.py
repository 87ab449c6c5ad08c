"""A small built-in task in which what is asked depends on the input, so that one fixed prompt cannot say it.

The reviews of `reviews`, without their question. Banks and hotels file them as true or false, all others as yes or no: true and
yes for praise. Nothing in a review says which; a prompt has to notice the domain and then ask for the right pair of words.
"""

from collections.abc import Iterator

from vip_train.tasks import reviews
from vip_train.tasks.reading import Row
from vip_train.tasks.task import Split, TextTask

_STATEMENTS = ("bank", "hotel")


def generate(split: Split) -> Iterator[Row]:
    """Rows with the fields review, domain and label; the same every time."""
    for row in reviews.generate(split):
        form = "statement" if row["domain"] in _STATEMENTS else "question"
        yield {**row, "label": f"{row['label']}, {form}"}


FORMS = TextTask(
    name="forms",
    template="{review}",
    answers={"praise, question": "yes", "blame, question": "no", "praise, statement": "true", "blame, statement": "false"},
    generate=generate,
    group_field="domain",
)
