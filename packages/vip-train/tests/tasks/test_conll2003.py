"""CoNLL-2003: columns in IOB1 and IOB2, documents and sentences apart, and the hub's numbers."""

from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from vip_train.errors import UserError
from vip_train.tasks import Example
from vip_train.tasks.conll2003 import CONLL2003

IOB1 = """-DOCSTART- -X- O O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
Ada NNP I-NP I-PER
Bo NNP I-NP B-PER
Berg NNP I-NP I-PER

-DOCSTART- -X- O O

It PRP I-NP O
rained VBD I-VP O
"""
IOB2 = IOB1.replace("I-ORG", "B-ORG").replace("NP I-PER\nBo", "NP B-PER\nBo")
EXAMPLES = [
    Example(
        "sentence: EU rejects Ada Bo Berg",
        "organization: EU; person: Ada; person: Bo Berg",
        "",
        references=("EU B-ORG", "rejects O", "Ada B-PER", "Bo B-PER", "Berg I-PER"),
    ),
    Example("sentence: It rained", "none", "", references=("It O", "rained O")),
]


@pytest.mark.parametrize(
    "text", [IOB1, IOB2, IOB1.rstrip("\n"), IOB1.replace("\n", "\r\n"), "\ufeff" + IOB2.replace(" ", "\t")]
)
@pytest.mark.parametrize("name", ["eng.train", "train.txt"])
def test_the_published_columns(name: str, text: str, put: Callable[..., Path], tmp_path: Path) -> None:
    put(f"conll2003/{name}", text)
    assert CONLL2003.load("train", tmp_path) == EXAMPLES


def test_the_hubs_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"id": "0", "tokens": ["EU", "rejects", "Ada", "Bo", "Berg"], "ner_tags": [3, 0, 1, 1, 2]},
        {"id": "1", "tokens": ["It", "rained"], "ner_tags": [0, 0]},
    ]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows)
    assert CONLL2003.load("validation", None) == EXAMPLES


@pytest.mark.parametrize("line", ["Ada NNP I-NP", "Ada NNP I-NP PER", "Ada NNP I-NP S-PER", "Ada NNP I-NP I-GPE", "Ada"])
def test_a_line_without_a_known_tag_is_named(line: str, put: Callable[..., Path], refusal: Callable[..., str]) -> None:
    path = put("conll2003/eng.train", f"EU NNP I-NP I-ORG\n{line}\n")
    assert refusal(CONLL2003).startswith(f"{path}:2: the last column must be a tag, ")
    assert refusal(CONLL2003).endswith(f"found {line.split()[-1]!r}")


def test_tags_that_are_unknown_or_too_few_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for tags, said in (([9], "'ner_tags' has 9, which is no tag"), ([], "'ner_tags' has 0 tags for 1 tokens")):
        rows = [{"tokens": ["EU"], "ner_tags": tags}]
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, rows=rows, **__: rows)
        with pytest.raises(UserError, match=said):
            CONLL2003.load("train", None)
