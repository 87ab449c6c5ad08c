"""The page: choose an adapter, type a text, see its answer and the codes it selected."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import plotly.graph_objects as go
from vip_core.config import Evaluation
from vip_train import TASKS, TextTask, UserError
from vip_train.tasks import Example

from vip_demo.adapters import Shelf
from vip_demo.heatmap import heat_map
from vip_demo.inspection import LONGEST_TEXT, inspect
from vip_demo.words import HOW_TO_READ, summary

_WAITING = 16  # requests; further ones are told that the queue is full
_SHOWN_ANSWERS = 5
_EXAMPLES = 4

# Plotly paints its own text in one colour, which cannot suit a light and a dark page; the numbers in the cells are left alone.
_CSS = """
.js-plotly-plot .infolayer text, .js-plotly-plot .xaxislayer-above text, .js-plotly-plot .yaxislayer-above text {
    fill: var(--body-text-color) !important;
}
#examples .wrap { flex-direction: column; }
#summary, #reading { font-size: var(--text-lg); }
"""


class Shown(NamedTuple):
    """What one look at a text puts on the page, in the order of its components."""

    answer: str
    probability: dict[str, float] | None
    summary: str
    picture: go.Figure | None


_NOTHING = Shown("", None, "", None)


class Start(NamedTuple):
    """What the page offers for an adapter before any text was looked at."""

    text: str
    hint: str
    examples: list[Example]
    """With their right answers."""


def look(shelf: Shelf, name: str, text: str, how: Evaluation, seed: float) -> Shown:
    """Inspects a text for the page.

    Raises:
        gr.Error: what is wrong, as a sentence; markup in it is shown, not obeyed.
    """
    try:
        found = inspect(shelf.adapter(name), text, how, seed=int(seed))
    except UserError as error:
        raise _shown(error) from error
    picture = heat_map(found) if found.code_U else None
    return Shown(found.answer, found.probability or None, summary(found), picture)


def start(shelf: Shelf, name: str) -> Start:
    """The wording and examples of the adapter's task, as far as its task is known here and ships its own texts.

    Raises:
        gr.Error: the adapter's folder is broken.
    """
    try:
        task = TASKS.get(shelf.config(name).task)
    except UserError as error:
        raise _shown(error) from error
    if task is None:
        return Start("", "Text in the wording the adapter was trained on", [])
    examples = _examples(task) if task.generate is not None else []
    return Start(examples[0].source if examples else "", f"Wording of {task.name}: {task.template}", examples)


def _examples(task: TextTask) -> list[Example]:
    """A few of the validation split: each of another group, where there are groups, with another answer than the one before."""
    taken: list[Example] = []
    for example in task.load("validation", None):
        known = example.group and example.group in {other.group for other in taken}
        if not known and (not taken or example.target != taken[-1].target):
            taken.append(example)
        if len(taken) == _EXAMPLES:
            break
    return taken


def _shown(error: UserError) -> gr.Error:
    # The browser renders the message as HTML.
    return gr.Error(html.escape(str(error)), duration=None, print_exception=False)


def build_app(adapters: Mapping[str, Path]) -> gr.Blocks:
    """Builds the page. Each adapter is loaded when it is first used.

    Args:
        adapters: folder of each adapter by the name to show; at least one.
    """
    shelf = Shelf(adapters)
    first = shelf.names[0]

    app = gr.Blocks(title="VIP codes", analytics_enabled=False)
    with app:
        gr.Markdown("# Which codes does an input select?")
        with gr.Row():
            adapter = gr.Dropdown(list(shelf.names), value=first, label="Adapter", filterable=len(shelf.names) > 10, scale=3)
            how = gr.Radio(["expected", "argmax", "sample"], value="expected", label="Selection of codes", scale=3)
            seed = gr.Number(0, label="Seed of the draws", precision=0, minimum=0, visible=False, scale=1)
        with gr.Row():
            with gr.Column(scale=3):
                text = gr.Textbox(label="Input", lines=4, max_lines=12, max_length=LONGEST_TEXT, elem_id="input")
                button = gr.Button("Predict", variant="primary", elem_id="predict")
                examples = gr.Radio([], label="Examples and their right answers", visible=False, elem_id="examples")
            with gr.Column(scale=2):
                answer = gr.Textbox(label="Answer", interactive=False, elem_id="answer")
                probability = gr.Label(
                    label="Likeliest answers", num_top_classes=_SHOWN_ANSWERS, show_heading=False, elem_id="probability"
                )
        said = gr.Markdown(elem_id="summary")
        picture = gr.Plot(show_label=False, elem_id="heat-map")
        gr.Markdown(f"**How to read it.** {HOW_TO_READ}", elem_id="reading")

        inputs, outputs = [adapter, text, how, seed], [answer, probability, said, picture]
        # One model run at a time, whatever started it; of several waiting clicks of a visitor only the last one runs.
        model = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private", "trigger_mode": "always_last"}

        def show(name: str, typed: str, selection: Evaluation, drawn: float | None) -> Shown:
            return look(shelf, name, typed, selection, drawn or 0)

        def begin(name: str) -> list[Any]:
            offered = start(shelf, name)
            choices = [(f"{example.source} ({example.target})", example.source) for example in offered.examples]
            listed = gr.Radio(choices, value=None, visible=bool(choices))
            return [gr.Textbox(offered.text, placeholder=offered.hint), listed, *_NOTHING]

        begun = gr.on([app.load, adapter.change], begin, adapter, [text, examples, *outputs], api_visibility="private")
        asked = gr.on([button.click, text.submit, how.input, seed.submit], show, inputs, outputs, **model)
        how.change(lambda chosen: gr.Number(visible=chosen == "sample"), how, seed, api_visibility="private", queue=False)
        # An example is a button: it stays unchecked, so that it can be taken again after the text was changed.
        filled = examples.input(lambda taken: (taken, None), examples, [text, examples], api_visibility="private", queue=False)
        for event in (begun, asked, filled.then(show, inputs, outputs, **model)):
            # What is on the page would belong to another text than the one that was refused.
            event.failure(lambda: _NOTHING, None, outputs, api_visibility="private", queue=False)
    app.queue(max_size=_WAITING)
    return app


def launch(app: gr.Blocks, *, host: str, port: int) -> str:
    """Starts to serve the page in the background and returns its address. Nothing is fetched from or sent to another machine.

    Raises:
        UserError: the port is taken.
    """
    try:
        _, address, _ = app.launch(
            server_name=host,
            server_port=port,
            css=_CSS,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            run_history=False,
            enable_monitoring=False,
            footer_links=[],
        )
    except OSError as error:
        raise UserError(f"port={port}: cannot be opened on {host}; choose another one by --port") from error
    return address
