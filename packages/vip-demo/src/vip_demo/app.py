"""The page: an adapter and a text at the top, and below them a tab for each thing there is to see."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from vip_train import UserError

from vip_demo.api import add_api
from vip_demo.guard import Guard
from vip_demo.inspection import LONGEST_TEXT
from vip_demo.service import Service
from vip_demo.style import CSS
from vip_demo.upload import LARGEST_FILE
from vip_demo.views import code, codebook_map, compare, data_set, one_input, what_if
from vip_demo.views.controls import LATEST, QUICK, Controls, asked, said

WAITING = 64
"""Requests in the queue; further ones are told that the page is busy."""
SESSIONS = 1_000
"""Visitors, and calls of the API, that Gradio keeps what it knows of: a sixth of a megabyte each."""
BUSY = "The page is busy, more people ask at once than it can serve. Try again in a moment."


def build_app(adapters: Mapping[str, Path]) -> gr.Blocks:
    """Builds the page. Each adapter is loaded when it is first used.

    Args:
        adapters: folder of each adapter by the name to show; at least one. No others can be asked for.
    """
    service = Service(adapters)
    first = service.shelf.names[0]

    # What visitors upload or download is removed after an hour.
    app = gr.Blocks(title="VIP codes", analytics_enabled=False, delete_cache=(3600, 3600))
    with app:
        gr.Markdown(
            "# Which codes does an input select?\n\nA frozen language model is told its task by a few *prompt tokens*, vectors "
            "put before the text. An *adapter* makes them anew for each input, out of the *codes* of a small codebook."
        )
        with gr.Row():
            adapter = gr.Dropdown(
                list(service.shelf.names), value=first, label="Adapter", filterable=len(service.shelf.names) > 10, scale=3
            )
            how = gr.Radio(["expected", "argmax", "sample"], value="expected", label="Selection of codes", scale=3)
            seed = gr.Number(0, label="Seed of the draws", precision=0, visible=False, scale=1)
        with gr.Row():
            with gr.Column(scale=3):
                text = gr.Textbox(label="Input", lines=3, max_lines=12, max_length=LONGEST_TEXT, elem_id="input")
                button = gr.Button("Predict", variant="primary", elem_id="predict")
            with gr.Column(scale=2):
                examples = gr.Radio([], label="Examples and their right answers", visible=False, elem_id="examples")
        controls = Controls(service, adapter, text, how, seed)
        surveyed = gr.State(time_to_live=3600)
        with gr.Tabs(elem_id="views") as tabs:
            one, other, changed = one_input.build(controls), compare.build(controls), what_if.build(controls)
            views = [one, other, changed, code.build(controls, surveyed)]
            views += [codebook_map.build(controls, surveyed), data_set.build(controls, surveyed)]

        nothing = [value for view in views for value in view.nothing]
        cleared = [component for view in views for component in view.outputs]
        # What the other tabs say of a text is about the one before.
        of_text = [*other.outputs[1:], *changed.outputs]
        no_text = [*other.nothing[1:], *changed.nothing]

        @said
        def begin(name: str) -> list[Any]:
            offered = service.start(name)
            choices = [(f"{example.source} ({example.target})", example.source) for example in offered.examples]
            texts = [example.source for example in offered.examples] + ["", ""]
            return [
                gr.Textbox(texts[0], placeholder=offered.hint),
                gr.Radio(choices, value=None, visible=bool(choices)),
                gr.Tabs(selected=one.tab.id),
                *nothing,
                texts[1],
            ]

        @said
        def look(name: str, typed: str, selection: Any, drawn: float | None) -> one_input.Shown:
            (found,) = service.inspect([asked(name, typed, selection, drawn)])
            return one_input.show(found)

        # The last is the second input of the comparison again, with an example in it. It waits behind what was asked of another
        # adapter, so that nothing of that one arrives on the page after it.
        shown = [text, examples, tabs, *cleared, other.outputs[0]]
        begun = gr.on([app.load, adapter.change], begin, adapter, shown, **LATEST)
        # What is on the page would belong to another adapter than the one that cannot be read.
        begun.failure(lambda: ["", gr.Radio([], visible=False), *nothing], None, [text, examples, *cleared], **QUICK)
        first = begun.success(look, controls.question, one.outputs, **LATEST)
        seen = gr.on([button.click, text.submit, how.input, seed.submit], look, controls.question, one.outputs, **LATEST)
        # An example is a button: it stays unchecked, so that it can be taken again after the text was changed.
        filled = examples.input(lambda taken: (taken, None), examples, [text, examples], **QUICK)
        for event in (first, seen, filled.then(look, controls.question, one.outputs, **LATEST)):
            event.failure(lambda: one_input.NOTHING, None, one.outputs, **QUICK)
        gr.on([button.click, text.submit, how.input, seed.submit, examples.input], lambda: no_text, None, of_text, **QUICK)
        how.change(lambda chosen: gr.Number(visible=chosen == "sample"), how, seed, **QUICK)
        add_api(service)
    app.queue(max_size=WAITING)
    return app


def launch(app: gr.Blocks, *, host: str, port: int) -> str:
    """Starts to serve the page in the background and returns its address. Nothing is fetched from or sent to another machine.

    Besides the page there is `/health`, which says that the process answers.

    Raises:
        UserError: the port is taken.
    """
    try:
        _, address, _ = app.launch(
            server_name=host,
            server_port=port,
            css=CSS,
            max_file_size=LARGEST_FILE,
            app_kwargs={
                "exception_handlers": {503: _busy},
                "routes": [Route("/health", _health)],
                "middleware": [Middleware(Guard)],
            },
            state_session_capacity=SESSIONS,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            run_history=False,
            enable_monitoring=False,
            footer_links=["api"],
        )
    except OSError as error:
        raise UserError(
            f"port={port}: cannot be opened on {host}; choose another one by --port, or another address by --host"
        ) from error
    return address


async def _busy(_request: Request, _error: Exception) -> JSONResponse:
    return JSONResponse({"detail": BUSY}, status_code=503, headers={"Retry-After": "2"})


async def _health(_request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})
