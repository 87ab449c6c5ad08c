"""SuperGLUE BoolQ: answer a yes/no question about a passage.

The question comes first, so that truncating a long passage never cuts it. Metric: accuracy.
"""

from vip_train.tasks.task import HubSource, TextTask

BOOLQ = TextTask(
    name="superglue/boolq",
    folder="BoolQ",
    hub=HubSource("aps/super_glue", "boolq", "refs/convert/parquet", ("false", "true")),
    template="question: {question}? passage: {passage}",
    answers={"false": "no", "true": "yes"},
)
