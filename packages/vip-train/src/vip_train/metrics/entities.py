"""F1 over entities, counted by seqeval on the tokens that carry the gold tags."""

from collections.abc import Sequence

from vip_train.tasks.listing import place_entities, read_listing
from vip_train.tasks.task import Example


def is_listing(answer: str) -> bool:
    """Whether an answer can be read as a list of entities."""
    return read_listing(answer) is not None


def entity_f1(answers: Sequence[str], examples: Sequence[Example], labels: Sequence[str]) -> float:
    """F1 over whole entities of the right type and extent, as conlleval counts, all sentences together.

    The gold side is the published tags, never text found again in the sentence. Each listed entity is put at its place
    in the sentence; one that the sentence lacks counts as an entity too many. A text that is no list names nothing.
    """
    from seqeval.metrics import f1_score

    gold, given = [], []
    for answer, example in zip(answers, examples, strict=True):
        tokens, tags = zip(*(pair.rsplit(" ", 1) for pair in example.references), strict=True)
        placed = place_entities(read_listing(answer) or [], tokens)
        gold.append([*tags, *["O"] * len(placed.missing)])
        given.append([*placed.tags, *(f"B-{entity.kind}" for entity in placed.missing)])
    return float(f1_score(gold, given, zero_division=0))
