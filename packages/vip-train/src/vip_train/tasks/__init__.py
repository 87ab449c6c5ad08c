"""The tasks `--task` knows. Adding one is a new file beside this one and a line here."""

from vip_train.errors import UserError
from vip_train.tasks.boolq import BOOLQ
from vip_train.tasks.cb import CB
from vip_train.tasks.forms import FORMS
from vip_train.tasks.notes import NOTES
from vip_train.tasks.reviews import REVIEWS
from vip_train.tasks.rte import RTE
from vip_train.tasks.task import ClassificationTask, Example

TASKS: dict[str, ClassificationTask] = {task.name: task for task in (FORMS, REVIEWS, NOTES, CB, RTE, BOOLQ)}


def get_task(name: str) -> ClassificationTask:
    """The task of that name.

    Raises:
        UserError: there is none; the message lists what there is.
    """
    if name not in TASKS:
        raise UserError(f"task={name}: is unknown, known are {', '.join(sorted(TASKS))}")
    return TASKS[name]


__all__ = ["TASKS", "ClassificationTask", "Example", "get_task"]
