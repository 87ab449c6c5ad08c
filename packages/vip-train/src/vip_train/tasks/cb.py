"""SuperGLUE CB (CommitmentBank): does the premise's speaker mean the hypothesis to be true?

Template and wording are ours: plain field names, and one short English word per label, so that a target is one or two tokens
in any vocabulary and a label's likelihood does not depend on how the vocabulary splits it. Metrics: accuracy, and macro-F1
over the three labels; the official score is their mean.
"""

from vip_train.tasks.task import HubSource, TextTask

CB = TextTask(
    name="superglue/cb",
    folder="CB",
    hub=HubSource("aps/super_glue", "cb", "refs/convert/parquet", ("entailment", "contradiction", "neutral")),
    template="premise: {premise} hypothesis: {hypothesis} true, false or neither?",
    answers={"entailment": "true", "contradiction": "false", "neutral": "neither"},
    metrics=("accuracy", "macro_f1"),
)
