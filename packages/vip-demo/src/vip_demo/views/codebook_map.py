"""The codebook flattened to two dimensions: which codes are neighbours, how much each is used, and by whom."""

from typing import Any

import gradio as gr

from vip_demo import words
from vip_demo.charts import map_of
from vip_demo.codes import codebook_map
from vip_demo.survey import uses
from vip_demo.views.controls import LATEST, PROGRESS, QUICK, Controls, View, read, said

LABEL, DOMAIN = "label", "domain"


def build(controls: Controls, surveyed: gr.State) -> View:
    """The tab; for its arguments see `code.build`."""
    service = controls.service
    with gr.Tab("Codebook map", id="map") as tab:
        by = gr.Radio([LABEL, DOMAIN], value=LABEL, label="Colour by", elem_id="map-by")
        told = gr.Markdown(elem_id="map-told", elem_classes="said")
        picture = gr.Plot(label="Map of the codebook", show_label=False, elem_id="map-plot")
        read(words.HOW_TO_READ["map"])

        @said
        def show(name: str, own: str | None, colour: str, progress: gr.Progress = PROGRESS) -> tuple[str, Any]:
            found = service.surveyed(name, own, progress=lambda done, all_: progress((done, all_), unit="texts"))
            if not len(found.share_K):
                return words.data_set(found), None
            drawn = map_of(codebook_map(service.shelf.adapter(name)), uses(found), colour)
            return words.use(found), drawn

        shown = gr.on([tab.select, by.input], show, [controls.adapter, surveyed, by], [told, picture], **LATEST)
        shown.failure(lambda: ("", None), None, [told, picture], **QUICK)
    return View(tab, [told, picture], ["", None])
