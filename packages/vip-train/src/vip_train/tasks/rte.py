"""SuperGLUE RTE: does the hypothesis follow from the premise?

Wording as in `cb.py`, for the same reason. Metric: accuracy.
"""

from vip_train.tasks.task import HubSource, TextTask

RTE = TextTask(
    name="superglue/rte",
    folder="RTE",
    hub=HubSource("aps/super_glue", "rte", "refs/convert/parquet", ("entailment", "not_entailment")),
    template="premise: {premise} hypothesis: {hypothesis} true or false?",
    answers={"entailment": "true", "not_entailment": "false"},
)
