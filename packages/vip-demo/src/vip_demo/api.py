"""The page's API: what the tabs show, as JSON, by named endpoints. `gradio_client` lists and calls them.

Text that is wrong comes back as `problem`; what else is wrong is an error.
"""

from typing import Any

from gradio.events import api
from vip_train import UserError
from vip_train.tasks import Example

from vip_demo.codes import nearest_words
from vip_demo.comparison import compare
from vip_demo.effects import Effect
from vip_demo.inspection import Inspection
from vip_demo.service import Question, Service
from vip_demo.survey import Survey, survey, takers, uses
from vip_demo.views.controls import MODEL, asked, said
from vip_demo.views.one_input import AT_ONCE
from vip_demo.views.what_if import changed, each_off

Record = dict[str, Any]
_DIGITS = 6


def add_api(service: Service) -> None:
    """Adds the endpoints to the page that is being built."""

    def adapters() -> list[Record]:
        """The adapters that are offered: name, method, task, answers, prompt length and number of codes."""
        return [_described(service, name) for name in service.shelf.names]

    @said
    def inspect(adapter: list[str], text: list[str], how: list[str], seed: list[int]) -> list[list[Record]]:
        """One text: answer, probabilities, and the weight of each code in use in each prompt token.

        Args:
            adapter: name of one that is offered.
            text: in the wording of its task.
            how: `expected`, `argmax` or `sample`.
            seed: of the draws of `sample`.
        """
        questions = [_question(*each) for each in zip(adapter, text, how, seed, strict=True)]
        return [[_inspected(found) for found in service.inspect(questions)]]

    @said
    def compare_texts(adapter: str, first: str, second: str, how: str = "expected", seed: int = 0) -> Record:
        """Two texts: shared and differing codes, distances, and both as `/inspect` has them."""
        question = _question(adapter, first, how, seed)
        one, other = service.one(question), service.one(question._replace(text=second))
        return {**compare(one, other)._asdict(), "first": _inspected(one), "second": _inspected(other)}

    @said
    def what_if(adapter: str, text: str, codes: list[int], force: bool = False, how: str = "expected", seed: int = 0) -> Record:
        """The text with these codes switched off or, with `force`, with every prompt token forced to the one code."""
        if not codes or (force and len(codes) != 1):
            raise UserError("codes: one is needed to be forced, one or more to be switched off.")
        before, effect = changed(service, _question(adapter, text, how, seed), codes, force=force)
        return {"before": _inspected(before), **_effect(effect), "after": _inspected(effect.found)}

    @said
    def effects(adapter: str, text: str, how: str = "expected", seed: int = 0) -> list[Record]:
        """Each code that is in use, the most used first: what changes when it alone is switched off."""
        return [_effect(effect) for effect in each_off(service, _question(adapter, text, how, seed))[1]]

    @said
    def code(adapter: str, code: int) -> Record:
        """One code over the built-in data set: share, labels and domains, nearest words, and the texts that take it most."""
        found = service.survey(adapter)
        used = {use.code: use for use in uses(found)}
        if code not in used:
            raise UserError(f"There is no code {code}: this codebook has {len(used)}.")
        return {
            **used[code]._asdict(),
            "nearest_words": [near._asdict() for near in nearest_words(service.shelf.adapter(adapter), code)],
            "takers": [
                {"share": round(each.share, _DIGITS), "text": each.example.source, "answer": each.answer}
                for each in takers(found, code)
            ],
        }

    @said
    def data_set(adapter: str, rows: list[dict[str, str]]) -> Record:
        """Use of codes over rows with `source`, and perhaps `target` and `domain`; without rows over the built-in data set."""
        if not rows:
            return _surveyed(service.survey(adapter))
        texts = [Example(row.get("source", ""), row.get("target", ""), row.get("domain", "")) for row in rows]
        return _surveyed(survey(service.shelf.adapter(adapter), texts))

    api(adapters, api_name="adapters", queue=False)
    api(inspect, api_name="inspect", batch=True, max_batch_size=AT_ONCE, **MODEL)
    api(compare_texts, api_name="compare", **MODEL)
    for endpoint in (what_if, effects, code, data_set):
        api(endpoint, api_name=endpoint.__name__, **MODEL)


def _question(adapter: str, text: str, how: str, seed: int) -> Question:
    return asked(adapter, text, how, seed)


def _described(service: Service, name: str) -> Record:
    try:
        config = service.shelf.config(name)
    except UserError as error:
        return {"name": name, "problem": str(error)}
    return {
        "name": name,
        "method": config.vip.method,
        "task": config.task,
        "answers": list(config.answers),
        "prompt_tokens": config.vip.prompt_length,
        "codes": config.vip.quantizer.codes if config.vip.quantizes else 0,
        "problem": "",
    }


def _inspected(found: Inspection | UserError) -> Record:
    if isinstance(found, UserError):
        return {"problem": str(found)}
    return {
        "problem": "",
        "answer": found.answer,
        "probability": {answer: round(value, _DIGITS) for answer, value in found.probability.items()},
        "perplexity": round(found.perplexity, _DIGITS),
        "codes": list(found.code_U),
        "weights": [[round(weight, _DIGITS) for weight in weight_U] for weight_U in found.weight_PU.tolist()],
        "words": list(found.words),
        "attention": [[round(share, _DIGITS) for share in share_W] for share_W in found.attention_PW.tolist()],
    }


def _effect(found: Effect) -> Record:
    return {
        "codes_off": list(found.codes),
        "answer": found.found.answer,
        "change": {answer: round(value, _DIGITS) for answer, value in found.change.items()},
        "distance": round(found.distance, _DIGITS),
    }


def _surveyed(found: Survey) -> Record:
    told = {name: value for name, value in found.selection._asdict().items() if isinstance(value, float)}
    return {
        "texts": len(found.examples),
        "accuracy": found.accuracy,
        **told,
        "codes": [use._asdict() for use in uses(found)],
        "skipped": list(found.skipped),
    }
