"""One code: the inputs that take it most, the words it lies next to, where its weight comes from, and its past."""

from typing import Any, NamedTuple

import gradio as gr
import plotly.graph_objects as go
from vip_train import UserError

from vip_demo import words
from vip_demo.charts import shares_of, trace_of
from vip_demo.codes import nearest_words, read_trace
from vip_demo.service import Service
from vip_demo.survey import Survey, Taker, takers, texts_by, uses
from vip_demo.views.controls import FORGIVING, LATEST, PROGRESS, QUICK, Controls, View, number, read, said

HEADER = ["share", "input", "answer", "right answer", "domain"]
_WIDTHS: list[str | int] = ["80px", "260px", "90px", "90px", "120px"]


class Shown(NamedTuple):
    """What the tab says of a code, in the order of its components."""

    told: str
    rows: list[list[str]]
    by_label: go.Figure | None
    by_domain: go.Figure | None
    trace: go.Figure | None
    no_trace: str


NOTHING = Shown("", [], None, None, None, "")


def describe(service: Service, name: str, found: Survey, code: int) -> Shown:
    """All there is to say of a code.

    Raises:
        UserError: there is no such code.
    """
    used = {use.code: use for use in uses(found)}
    if code not in used:
        raise UserError(f"There is no code {code}: this codebook has 0 to {len(used) - 1}.")
    adapter = service.shelf.adapter(name)
    use = used[code]
    trace = read_trace(service.shelf.folder(name), len(used))
    return Shown(
        words.code(found, use, nearest_words(adapter, code)),
        [_row(taker) for taker in takers(found, code) if taker.share > 0],
        shares_of(use.by_label, texts_by(found, "target"), "label") if use.by_label else None,
        shares_of(use.by_group, texts_by(found, "group"), "domain") if use.by_group else None,
        trace_of(trace, code) if trace else None,
        "" if trace else "Its trace over training is not there: the run's metrics.jsonl does not lie above this adapter.",
    )


def _row(taker: Taker) -> list[str]:
    texts = (taker.example.source, taker.answer, taker.example.target, taker.example.group)
    return [f"{taker.share:.1%}", *map(words.visible, texts)]


def _is_chosen(value: object) -> bool:
    return value not in (None, "", [])


def build(controls: Controls, surveyed: gr.State) -> View:
    """The tab.

    Args:
        controls: of the page.
        surveyed: a data set of the visitor's own; the built-in one where there is none.
    """
    service = controls.service
    with gr.Tab("A code", id="code") as tab:
        code = gr.Dropdown(
            [], label="Code", elem_id="code", info="With its share of all weight, the most used first.", **FORGIVING
        )
        told = gr.Markdown(elem_id="code-told", elem_classes="said")
        with gr.Row():
            by_label = gr.Plot(label="Share by label", show_label=False, elem_id="code-labels")
            by_domain = gr.Plot(label="Share by domain", show_label=False, elem_id="code-domains")
        rows = gr.Dataframe(
            headers=HEADER,
            column_widths=_WIDTHS,
            type="array",
            label="Inputs that take it most",
            wrap=True,
            interactive=False,
            elem_id="takers",
        )
        gr.Markdown("### Over training")
        trace = gr.Plot(label="Share over training", show_label=False, elem_id="code-trace")
        no_trace = gr.Markdown()
        read(words.HOW_TO_READ["code"])
        outputs = [told, rows, by_label, by_domain, trace, no_trace]

        @said
        def show(name: str, own: str | None, chosen: object) -> Shown:
            if not _is_chosen(chosen):
                return NOTHING
            return describe(service, name, service.surveyed(name, own), number(chosen, "code"))

        @said
        def open_(name: str, own: str | None, chosen: object, progress: gr.Progress = PROGRESS) -> tuple[Any, ...]:
            found = service.surveyed(name, own, progress=lambda done, all_: progress((done, all_), unit="texts"))
            listed = uses(found)
            if not listed:
                return (gr.update(choices=[], value=None), *NOTHING._replace(told=words.data_set(found)))
            code_ = number(chosen, "code") if _is_chosen(chosen) else listed[0].code
            code_ = code_ if 0 <= code_ < len(listed) else listed[0].code
            choices = [(f"{use.code} ({use.share:.1%})", use.code) for use in listed]
            return (gr.update(choices=choices, value=code_), *describe(service, name, found, code_))

        inputs = [controls.adapter, surveyed, code]
        opened = tab.select(open_, inputs, [code, *outputs], **LATEST)
        shown = code.input(show, inputs, outputs, **LATEST)
        for event in (opened, shown):
            event.failure(lambda: NOTHING, None, outputs, **QUICK)
    return View(tab, [code, *outputs], [gr.update(choices=[], value=None), *NOTHING])
