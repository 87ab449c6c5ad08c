"""One input: its answer, the codes each prompt token took, and the words the prompt looked at."""

from typing import Any, NamedTuple

import gradio as gr
import plotly.graph_objects as go
from vip_train import UserError

from vip_demo import words
from vip_demo.heatmap import heat_map
from vip_demo.inspection import Inspection
from vip_demo.views.controls import FORGIVING, QUICK, Controls, View, number, read, said

_SHOWN_ANSWERS = 5


class Shown(NamedTuple):
    """What one look at a text puts on the page, in the order of its components."""

    problem: str
    answer: str
    probability: dict[str, float] | None
    summary: str
    attention: str
    picture: go.Figure | None
    found: Inspection | None
    token: Any
    """An update: the tokens that can be chosen."""


def _tokens(count: int) -> Any:
    return gr.update(choices=[("all", -1), *[(str(number), number) for number in range(count)]], value=-1)


NOTHING = Shown("", "", None, "", "", None, None, _tokens(0))


def show(found: Inspection | UserError) -> Shown:
    """An inspection for the page."""
    if isinstance(found, UserError):
        return NOTHING._replace(problem=words.plain(str(found)))
    return Shown(
        "",
        words.visible(found.answer),
        found.probability or None,
        words.summary(found),
        words.attention(found),
        heat_map(found) if found.code_U else None,
        found,
        _tokens(len(found.attention_PW) if found.words else 0),
    )


def build(controls: Controls) -> View:
    """The tab."""
    with gr.Tab("One input", id="one") as tab:
        problem = gr.Markdown(elem_id="problem")
        with gr.Row():
            answer = gr.Textbox(label="Answer", interactive=False, elem_id="answer")
            probability = gr.Label(
                label="Likeliest answers", num_top_classes=_SHOWN_ANSWERS, show_heading=False, elem_id="probability"
            )
        summary = gr.Markdown(elem_id="summary")
        picture = gr.Plot(label="Heat map of prompt tokens and codes", show_label=False, elem_id="heat-map")
        read(words.HOW_TO_READ["one"])
        gr.Markdown("### Words the prompt looks at")
        token = gr.Dropdown([("all", -1)], value=-1, label="Prompt token", elem_id="token", **FORGIVING)
        looked = gr.HTML(elem_id="words")
        read(words.HOW_TO_READ["words"])
        found = gr.State(time_to_live=3600)

        @said
        def of_token(seen: Inspection | None, chosen: object) -> str:
            if seen is None:
                return ""
            token = number(chosen, "prompt token")
            return words.attention(seen, token if 0 <= token < len(seen.attention_PW) else None)

        token.input(of_token, [found, token], looked, **QUICK)
    return View(tab, [problem, answer, probability, summary, looked, picture, found, token], NOTHING)
