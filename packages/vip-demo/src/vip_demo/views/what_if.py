"""What codes do: switch some off or force one, and see what becomes of the answer."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from vip_demo import words
from vip_demo.charts import effect_of_each, probabilities
from vip_demo.effects import Effect, effects, most_effect, only, without
from vip_demo.inspection import Inspection
from vip_demo.service import Question, Service
from vip_demo.views.controls import FORGIVING, LATEST, QUICK, Controls, View, asked, number, read, said

OFF, FORCE = "switch codes off", "force one code"


def each_off(service: Service, question: Question) -> tuple[Inspection, list[Effect]]:
    """A text, and what each of its codes does.

    Raises:
        UserError: the text cannot be read, or there are no codes to switch off.
    """
    before = service.one(question)
    return before, effects(service.shelf.adapter(question.adapter), before, seed=question.seed)


def changed(service: Service, question: Question, codes: Sequence[int], *, force: bool) -> tuple[Inspection, Effect]:
    """A text, and the same with codes switched off or one forced.

    Raises:
        UserError: the text cannot be read, there are no codes, or there is no such one.
    """
    before, adapter = service.one(question), service.shelf.adapter(question.adapter)
    if force:
        return before, only(adapter, before, codes[0], seed=question.seed)
    return before, without(adapter, before, codes, seed=question.seed)


def build(controls: Controls) -> View:
    """The tab."""
    with gr.Tab("What if", id="what-if") as tab:
        button = gr.Button("What does each code do?", variant="primary", elem_id="effects")
        every = gr.Plot(label="Effect of each code", show_label=False, elem_id="effects-plot")
        with gr.Row():
            mode = gr.Radio([OFF, FORCE], value=OFF, label="Change", elem_id="mode")
            codes = gr.Dropdown(
                [], multiselect=True, label="Codes", elem_id="codes", info="The most used ones come first.", **FORGIVING
            )
            again = gr.Button("Answer again", elem_id="again")
        told = gr.Markdown(elem_id="effect", elem_classes="said")
        picture = gr.Plot(label="Probabilities before and after", show_label=False, elem_id="what-if-plot")
        read(words.HOW_TO_READ["what if"])
        inputs, outputs = controls.question, [every, codes, told, picture]

        @said
        def show_each(name: str, text: str, how: Any, seed: float | None) -> tuple[Any, ...]:
            before, found = each_off(controls.service, asked(name, text, how, seed))
            most = most_effect(found)
            first = found[0]
            told_ = words.effect(before, first, f"Without code {first.codes[0]}, the most used")
            told_ += f" Of the {len(found)} most used, code {most.codes[0]} does most ({words.percent(most.distance)})."
            listed = [*before.code_U, *sorted(set(range(before.codes)) - set(before.code_U))]
            choices = [(f"{code} ({float(before.share_K[code]):.1%})", code) for code in listed]
            return effect_of_each(found), gr.update(choices=choices, value=[first.codes[0]]), told_, _bars(before, first)

        @said
        def show_changed(
            name: str, text: str, how: Any, seed: float | None, chosen: list[object], action: str
        ) -> tuple[str, Any]:
            force = action == FORCE
            if not chosen:
                raise gr.Error("Choose a code first: the button above lists them.", print_exception=False)
            if force and len(chosen) > 1:
                raise gr.Error("All prompt tokens can be forced to one code only: choose one.", print_exception=False)
            numbers = [number(each, "code") for each in chosen]
            before, found = changed(controls.service, asked(name, text, how, seed), numbers, force=force)
            listed = ", ".join(map(str, numbers))
            what = f"With code {listed} alone" if force else f"Without {listed}"
            return words.effect(before, found, what), _bars(before, found)

        first = button.click(show_each, inputs, outputs, **LATEST)
        then = again.click(show_changed, [*inputs, codes, mode], [told, picture], **LATEST)
        nothing = (None, gr.update(choices=[], value=[]), "", None)
        first.failure(lambda: nothing, None, outputs, **QUICK)
        then.failure(lambda: ("", None), None, [told, picture], **QUICK)
    return View(tab, outputs, nothing)


def _bars(before: Inspection, found: Effect) -> Any:
    if not before.probability:
        return None
    return probabilities(before.probability, found.found.probability, names=("as it is", "changed"))
