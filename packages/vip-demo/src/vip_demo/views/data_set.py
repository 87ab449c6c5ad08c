"""A data set: use of all codes, perplexity and information, to look at and to take away."""

import secrets
import shutil
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from vip_demo import words
from vip_demo.charts import use_of_all
from vip_demo.survey import MOST_TEXTS, Survey, as_csv, survey, table, uses
from vip_demo.upload import COLUMNS, LARGEST_FILE, read_upload
from vip_demo.views.controls import LATEST, PROGRESS, QUICK, Controls, View, read, said

_HOUR = 3600  # seconds


def build(controls: Controls, surveyed: gr.State) -> View:
    """The tab; for its arguments see `code.build`."""
    service = controls.service
    with gr.Tab("Data set", id="data") as tab:
        with gr.Row():
            upload = gr.File(
                label=f"Your own: .jsonl, .csv or .tsv, {LARGEST_FILE // 1_000_000} MB and {MOST_TEXTS:,} rows at most; "
                f"columns {COLUMNS[0]}, and perhaps {' and '.join(COLUMNS[1:])}",
                file_types=[".jsonl", ".csv", ".tsv"],
                elem_id="upload",
            )
            button = gr.Button("Look through the built-in data set", variant="primary", elem_id="survey")
        told = gr.Markdown(elem_id="data-told", elem_classes="said")
        picture = gr.Plot(label="Use of all codes", show_label=False, elem_id="data-plot")
        rows = gr.Dataframe(
            type="array", label="Use of each code", interactive=False, visible=False, elem_id="use", max_height=360
        )
        download = gr.DownloadButton("Download the table as CSV", elem_id="download", interactive=False)
        read(
            words.HOW_TO_READ["data"] + " The camera above a picture saves it as PNG. The other tabs read the data set that "
            "was looked through last."
        )
        outputs = [surveyed, told, picture, rows, download]

        @said
        def look(name: str, path: str | None, progress: gr.Progress = PROGRESS) -> tuple[Any, ...]:
            def tell(done: int, all_: int) -> None:
                progress((done, all_), unit="texts")

            if path is None:
                return (None, *show(service.survey(name, progress=tell)))
            found = survey(service.shelf.adapter(name), read_upload(Path(path)), progress=tell)
            return (service.keep(name, found), *show(found))

        @said
        def built_in(name: str, progress: gr.Progress = PROGRESS) -> tuple[Any, ...]:
            return (None, *look(name, None, progress))

        asked = upload.upload(look, [controls.adapter, upload], outputs, **LATEST)
        again = button.click(built_in, controls.adapter, [upload, *outputs], **LATEST)
        upload.clear(lambda: NOTHING, None, outputs, **QUICK)
        for event in (asked, again):
            event.failure(lambda: NOTHING, None, outputs, **QUICK)
    return View(tab, [upload, *outputs], [None, *NOTHING])


def _downloadable(content: bytes) -> Path:
    """A file that holds it. Gradio copies it into its own cache, from where alone files are served; ours go after an hour."""
    folder = Path(_downloads().name)
    for old in folder.iterdir():
        if old.stat().st_mtime < time.time() - _HOUR:
            shutil.rmtree(old, ignore_errors=True)
    path = folder / secrets.token_hex(8) / "code-use.csv"
    path.parent.mkdir()
    path.write_bytes(content)
    return path


@lru_cache
def _downloads() -> tempfile.TemporaryDirectory[str]:
    """Is gone when the process ends."""
    return tempfile.TemporaryDirectory(prefix="vip-demo-")


NOTHING = (
    None,
    "",
    None,
    gr.update(visible=False),
    gr.update(value=None, interactive=False),
)
"""For the outputs of the tab. The table hides: it does not let itself be emptied."""


def show(found: Survey) -> tuple[Any, ...]:
    """A survey for the page."""
    if not len(found.share_K):
        return (words.data_set(found), *NOTHING[2:])
    header, rows = table(found)
    path = _downloadable(as_csv(found).encode())
    return (
        words.data_set(found),
        use_of_all(uses(found)),
        gr.update(value={"headers": [words.visible(name) for name in header], "data": rows}, visible=True),
        gr.update(value=path, interactive=True),
    )
