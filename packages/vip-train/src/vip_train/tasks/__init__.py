"""The tasks `--task` knows. Adding one is a new file beside this one and a line here."""

from vip_train.errors import UserError
from vip_train.tasks.anli import ANLI
from vip_train.tasks.boolq import BOOLQ
from vip_train.tasks.cb import CB
from vip_train.tasks.conll2003 import CONLL2003
from vip_train.tasks.copa import COPA
from vip_train.tasks.diagnostics import AX_B, AX_G
from vip_train.tasks.forms import FORMS
from vip_train.tasks.mixture import parse_mixture
from vip_train.tasks.mnli import MNLI
from vip_train.tasks.mrqa import MRQA
from vip_train.tasks.multirc import MULTIRC
from vip_train.tasks.notes import NOTES
from vip_train.tasks.record import RECORD
from vip_train.tasks.reviews import REVIEWS
from vip_train.tasks.rte import RTE
from vip_train.tasks.semeval2010_task8 import SEMEVAL2010_TASK8
from vip_train.tasks.squad import SQUAD
from vip_train.tasks.suite import SUITE, SUITE_NEW
from vip_train.tasks.tacred import TACRED
from vip_train.tasks.task import Example, Task, TextTask
from vip_train.tasks.wic import WIC
from vip_train.tasks.wsc import WSC

TASKS: dict[str, TextTask] = {
    task.name: task
    for task in (
        *(FORMS, REVIEWS, NOTES),
        *(*SUITE, *SUITE_NEW),
        *(BOOLQ, CB, COPA, MULTIRC, RECORD, RTE, WIC, WSC, AX_B, AX_G),
        *(SQUAD, *MRQA),
        *(*ANLI, *MNLI),
        *(CONLL2003, SEMEVAL2010_TASK8, TACRED),
    )
}


def get_task(name: str) -> Task:
    """The task of that name, or a mixture of several: "superglue/cb:2+squad", see `vip_train.tasks.mixture`.

    Raises:
        UserError: there is none; the message lists what there is.
    """
    if name in TASKS:
        return TASKS[name]
    if "+" in name or ":" in name:
        return parse_mixture(name, TASKS)
    raise UserError(f"task={name}: is unknown, known are {', '.join(sorted(TASKS))}")


__all__ = ["TASKS", "Example", "Task", "TextTask", "get_task"]
