"""SuperGLUE COPA: which of two sentences is the cause, or the effect, of the premise?

The wording is the field's usual one for T5: both alternatives named choice1 and choice2, premise and question after them, and
the name of the right one as target. The target could be the alternative itself; but then longer sentences are less likely
whatever they say, and each row has answers of its own. Metric: accuracy.
"""

from vip_train.tasks.task import HubSource, TextTask

COPA = TextTask(
    name="superglue/copa",
    folder="COPA",
    hub=HubSource("aps/super_glue", "copa", "refs/convert/parquet"),
    template="choice1: {choice1} choice2: {choice2} premise: {premise} question: {question}",
    answers={"0": "choice1", "1": "choice2"},
)
