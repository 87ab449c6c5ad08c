"""TACRED: which of 41 relations, or none, does a sentence state between its subject and its object?

Subject and object are marked with * and # and named at the end with their types, which the data set gives. A target is the
relation's name in words: per:city_of_death is "person city of death", so that the vocabulary meets words it knows.

TACRED is licensed by the LDC and on no hub: `tacred/train.json` and `tacred/dev.json`, or the published `tacred/data/json/`.
Metric: the official micro-F1 over all relations but no_relation.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from vip_train.tasks.fields import field, marked, strings, typed
from vip_train.tasks.reading import Placed, Row, read_json
from vip_train.tasks.task import Reading, TextTask

_PERSON = (
    "age alternate_names cause_of_death charges children cities_of_residence city_of_birth city_of_death "
    "countries_of_residence country_of_birth country_of_death date_of_birth date_of_death employee_of origin "
    "other_family parents religion schools_attended siblings spouse stateorprovince_of_birth "
    "stateorprovince_of_death stateorprovinces_of_residence title "
)
_ORGANIZATION = (
    "alternate_names city_of_headquarters country_of_headquarters dissolved founded founded_by member_of members "
    "number_of_employees/members parents political/religious_affiliation shareholders "
    "stateorprovince_of_headquarters subsidiaries top_members/employees website "
)
NO_RELATION = "no_relation"
LABELS = (NO_RELATION, *(f"org:{name}" for name in _ORGANIZATION.split()), *(f"per:{name}" for name in _PERSON.split()))

_BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]"}


def read_tacred(path: Path) -> Iterator[Placed]:
    """One row for each object of the list."""
    for number, row in enumerate(typed(str(path), "the document", read_json(path), list)):
        place = f"{path} [{number}]"
        yield place, typed(place, "the record", row, dict)


def _texts(place: str, row: Row) -> Mapping[str, str]:
    tokens = [_BRACKETS.get(token, token) for token in strings(place, row, "token")]
    texts, marks = {}, []
    for short, name, mark in ("subj", "subject", "*"), ("obj", "object", "#"):
        first, last = field(place, row, f"{short}_start", int), field(place, row, f"{short}_end", int)
        marks.append((first, last + 1, mark))
        kind = field(place, row, f"{short}_type", str).lower().replace("_", " ")
        texts[name] = f"{mark}{' '.join(tokens[first : last + 1])}{mark}, {kind}"
    texts["sentence"] = marked(place, tokens, *marks)
    return texts


def _parse(place: str, row: Row) -> Iterator[Reading]:
    yield Reading(_texts(place, row), field(place, row, "relation", str))


def _words(label: str) -> str:
    kind = {"org": "organization ", "per": "person "}
    before, _, after = label.rpartition(":")
    name = after.replace("stateorprovince", "state_or_province").replace("/", "_or_").replace("_", " ")
    return kind.get(before, "") + name


TACRED = TextTask(
    name="tacred",
    folder="tacred",
    files={"train": ("train.json", "data/json/train.json"), "validation": ("dev.json", "data/json/dev.json")},
    read=read_tacred,
    texts=_texts,
    parse=_parse,
    template="{sentence} How are {subject}, and {object}, related?",
    answers={label: _words(label) for label in LABELS},
    metrics=("positive_micro_f1", "accuracy"),
)
