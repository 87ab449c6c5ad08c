"""The page's API: what the tabs show, as JSON, by named endpoints. `gradio_client` lists and calls them.

`/inspect` answers several callers at once, so what is wrong with one question comes back to it as `problem`; the others raise
an error with a sentence.
"""

from typing import Any, get_args

from gradio.events import api
from vip_core.config import Evaluation
from vip_train import UserError
from vip_train.tasks import Example

from vip_demo.codes import nearest_words
from vip_demo.comparison import compare
from vip_demo.effects import Effect
from vip_demo.inspection import Inspection
from vip_demo.service import Question, Service
from vip_demo.survey import MOST_TEXTS, Survey, Use, survey, takers, uses
from vip_demo.upload import COLUMNS
from vip_demo.views.compare import two
from vip_demo.views.controls import MODEL, told
from vip_demo.views.what_if import changed, each_off

Record = dict[str, Any]
AT_ONCE = 16
"""Questions of different callers that go through the model together."""
_DIGITS = 6


def add_api(service: Service) -> None:
    """Adds the endpoints to the page that is being built."""

    def adapters() -> list[Record]:
        """The adapters that are offered: name, method, task, answers, prompt length and number of codes."""
        return [_described(service, name) for name in service.shelf.names]

    @told
    def inspect(adapter: list[str], text: list[str], how: list[str], seed: list[int]) -> list[list[Record]]:
        """One text: answer, probabilities, and the weight of each code in use in each prompt token.

        Args:
            adapter: name of one that is offered.
            text: in the wording of its task.
            how: `expected`, `argmax` or `sample`.
            seed: of the draws of `sample`.
        """
        rows: list[Inspection | UserError | Question] = []
        for asked in zip(adapter, text, how, seed, strict=True):
            try:
                rows.append(_question(*asked))
            except UserError as error:
                rows.append(error)
        found = iter(service.inspect([row for row in rows if isinstance(row, Question)]))
        return [[_inspected(next(found) if isinstance(row, Question) else row) for row in rows]]

    @told
    def compare_texts(adapter: str, first: str, second: str, how: str = "expected", seed: int = 0) -> Record:
        """Two texts: shared and differing codes, distances, and both as `/inspect` has them."""
        one, other = two(service, _question(adapter, first, how, seed), _text("second", second))
        return {**compare(one, other)._asdict(), "first": _inspected(one), "second": _inspected(other)}

    @told
    def what_if(adapter: str, text: str, codes: list[int], force: bool = False, how: str = "expected", seed: int = 0) -> Record:
        """The text with these codes switched off or, with `force`, with every prompt token forced to the one code."""
        if force not in (True, False):
            raise UserError(f"force={force!r} must be true or false.")
        numbers = [_whole("codes", code) for code in _list("codes", codes)]
        if not numbers or (force and len(numbers) != 1):
            raise UserError("codes: one is needed to be forced, one or more to be switched off.")
        before, effect = changed(service, _question(adapter, text, how, seed), numbers, force=force)
        return {"before": _inspected(before), **_effect(effect), "after": _inspected(effect.found)}

    @told
    def effects(adapter: str, text: str, how: str = "expected", seed: int = 0) -> list[Record]:
        """Each code that is in use, the most used first: what changes when it alone is switched off."""
        return [_effect(effect) for effect in each_off(service, _question(adapter, text, how, seed))[1]]

    @told
    def code(adapter: str, code: int) -> Record:
        """One code over the built-in data set: share, labels and domains, nearest words, and the texts that take it most."""
        number = _whole("code", code)
        found = service.survey(_text("adapter", adapter))
        used = {use.code: use for use in uses(found)}
        if number not in used:
            raise UserError(f"There is no code {number}: this codebook has {len(used)}.")
        return {
            **_used(used[number]),
            "nearest_words": [near._asdict() for near in nearest_words(service.shelf.adapter(adapter), number)],
            "takers": [
                {"share": round(each.share, _DIGITS), "text": each.example.source, "answer": each.answer}
                for each in takers(found, number)
            ],
        }

    @told
    def data_set(adapter: str, rows: list[dict[str, str]]) -> Record:
        """Use of codes over rows with `source`, and perhaps `target` and `domain`; without rows over the built-in data set."""
        name, given = _text("adapter", adapter), _list("rows", rows)
        if len(given) > MOST_TEXTS:
            raise UserError(f"rows: there are {len(given):,}, at most {MOST_TEXTS:,} are taken.")
        if not given:
            return _surveyed(service.survey(name), built_in=True)
        return _surveyed(survey(service.shelf.adapter(name), [_example(number, row) for number, row in enumerate(given)]))

    api(adapters, api_name="adapters", queue=False)
    api(inspect, api_name="inspect", batch=True, max_batch_size=AT_ONCE, **MODEL)
    api(compare_texts, api_name="compare", **MODEL)
    for endpoint in (what_if, effects, code, data_set):
        api(endpoint, api_name=endpoint.__name__, **MODEL)


def _question(adapter: object, text: object, how: object, seed: object) -> Question:
    """Checks what came as JSON.

    Raises:
        UserError: an argument is of another kind.
    """
    selection: Evaluation | None = next((each for each in get_args(Evaluation) if each == how), None)
    if selection is None:
        raise UserError(f"how={how!r} must be one of {', '.join(get_args(Evaluation))}.")
    return Question(_text("adapter", adapter), _text("text", text), selection, _whole("seed", seed))


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise UserError(f"{name} must be text, {type(value).__name__} was found.")
    return value


def _list(name: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise UserError(f"{name} must be a list, {type(value).__name__} was found.")
    return value


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"{name}={value!r} must be a whole number.")
    return value


def _example(number: int, row: object) -> Example:
    if not isinstance(row, dict):
        raise UserError(f"rows[{number}] must be an object, {type(row).__name__} was found.")
    source, target, domain = (_text(f"rows[{number}].{name}", row.get(name, "")) for name in COLUMNS)
    return Example(source, target, domain)


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


def _used(use: Use) -> Record:
    return {"code": use.code, "share": use.share, "by_label": use.by_label, "by_domain": use.by_group}


def _surveyed(found: Survey, *, built_in: bool = False) -> Record:
    # What cannot be told is null and not 0.
    known = {"label_bits": found.knows("target"), "group_bits": found.knows("group")}
    figures = {
        name.replace("group", "domain"): value if known.get(name.removesuffix("_shuffled"), True) else None
        for name, value in found.selection._asdict().items()
        if isinstance(value, float)
    }
    return {
        "texts": len(found.examples),
        "accuracy": found.accuracy,
        "built_in": built_in,
        **figures,
        "codes": [_used(use) for use in uses(found)],
        "skipped": list(found.skipped),
    }
