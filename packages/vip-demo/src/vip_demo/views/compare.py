"""Two inputs, or one and its edit: which codes they share, and how far apart their prompts are."""

from typing import Any

import gradio as gr
from vip_train import UserError

from vip_demo import words
from vip_demo.charts import shares_side_by_side
from vip_demo.comparison import compare
from vip_demo.inspection import Inspection
from vip_demo.service import Question, Service
from vip_demo.views.controls import LATEST, QUICK, Controls, View, asked, read, said


def two(service: Service, question: Question, other: str) -> tuple[Inspection, Inspection]:
    """Both texts through the same adapter.

    Raises:
        UserError: one of them cannot be read; it says which.
    """
    found = []
    for which, each in (("first", question), ("second", question._replace(text=other))):
        try:
            found.append(service.one(each))
        except UserError as error:
            raise UserError(f"The {which} input: {error}") from error
    return found[0], found[1]


def build(controls: Controls) -> View:
    """The tab."""
    with gr.Tab("Compare", id="compare") as tab:
        second = gr.Textbox(label="Second input", info="The first is the one above.", lines=3, elem_id="second")
        button = gr.Button("Compare", variant="primary", elem_id="compare-both")
        told = gr.Markdown(elem_id="compared", elem_classes="said")
        picture = gr.Plot(label="Shares of codes in both inputs", show_label=False, elem_id="compare-plot")
        read(words.HOW_TO_READ["compare"])

        @said
        def show(name: str, text: str, how: Any, seed: float | None, other: str) -> tuple[str, Any]:
            first, then = two(controls.service, asked(name, text, how, seed), other or "")
            found = compare(first, then)
            return words.comparison(first, then, found), shares_side_by_side(first, then, found) if first.code_U else None

        shown = gr.on([button.click, second.submit], show, [*controls.question, second], [told, picture], **LATEST)
        shown.failure(lambda: ("", None), None, [told, picture], **QUICK)
    return View(tab, [second, told, picture], ["", "", None])
