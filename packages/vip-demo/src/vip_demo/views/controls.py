"""What the tabs share: the adapter, the text and the selection at the top of the page, and how model work is let in."""

import html
import logging
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import gradio as gr
from vip_train import UserError

from vip_demo.service import Question, Service

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger("vip_demo")
_UNFORESEEN = "Something went wrong here; the operator finds it in the log."

MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
"""One call of the model at a time, whatever started it; the others wait in the queue."""
LATEST: dict[str, Any] = {**MODEL, "api_visibility": "private", "trigger_mode": "always_last"}
"""As well; of several waiting clicks of a visitor only the last one runs, and there is no API of it."""
QUICK: dict[str, Any] = {"api_visibility": "private", "queue": False}
"""For what asks no model."""
PROGRESS = gr.Progress()
"""As a default it has Gradio hand in the bar of the call."""


class Controls(NamedTuple):
    """The components at the top, and what answers."""

    service: Service
    adapter: gr.Dropdown
    text: gr.Textbox
    how: gr.Radio
    seed: gr.Number

    @property
    def question(self) -> list[Any]:
        """Inputs of an event about the text, in the order of `Question` once joined by `asked`."""
        return [self.adapter, self.text, self.how, self.seed]


FORGIVING: dict[str, Any] = {"allow_custom_value": True}
"""For choices that depend on the adapter. Gradio forgets which they were when a session is old, and would refuse them all
then; so it takes any, and `number` looks at them."""


def number(value: object, what: str) -> int:
    """A choice that should be a whole number.

    Raises:
        UserError: it is none.
    """
    try:
        return int(str(value).partition(" ")[0])
    except ValueError as error:
        raise UserError(f"{str(value)[:40]!r} is no {what}: choose one of the list.") from error


class View(NamedTuple):
    """A tab."""

    tab: gr.Tab
    outputs: Sequence[Any]
    """Components that say something of the adapter."""
    nothing: Sequence[Any]
    """What each shows when it has nothing to say."""


def asked(name: str, text: str, how: Any, seed: float | None) -> Question:
    """The question that the controls ask."""
    return Question(name, text or "", how, int(seed or 0))


def said(work: Callable[P, R]) -> Callable[P, R]:
    """Shows on the page what is wrong, as a sentence. What nobody foresaw is logged in full, and the visitor is told so."""
    # The browser renders the message as HTML.
    return _with_errors(work, html.escape)


def told(work: Callable[P, R]) -> Callable[P, R]:
    """The same for who calls the API, which renders nothing."""
    return _with_errors(work, str)


def _with_errors(work: Callable[P, R], shown: Callable[[str], str]) -> Callable[P, R]:
    @wraps(work)
    def safe(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return work(*args, **kwargs)
        except UserError as error:
            raise gr.Error(shown(str(error)), duration=None, print_exception=False) from error
        except gr.Error:
            raise
        except Exception as error:
            _log.exception("%s failed", work.__name__)
            raise gr.Error(_UNFORESEEN, print_exception=False) from error

    return safe


def read(sentence: str) -> None:
    """Says how to read a picture."""
    gr.Markdown(f"**How to read it.** {sentence}", elem_classes="reading")
