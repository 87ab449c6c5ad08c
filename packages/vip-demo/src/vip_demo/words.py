"""The sentences of the page, in Markdown or HTML. What a visitor typed comes out as text, whatever it holds."""

import html
import unicodedata
from collections.abc import Sequence

from torch import Tensor

from vip_demo.codes import Near
from vip_demo.comparison import LEAST_HELD, Comparison
from vip_demo.effects import Effect
from vip_demo.heatmap import LEAST_WRITTEN, left_out
from vip_demo.inspection import LEAST_SHARE, Inspection
from vip_demo.survey import Survey, Use, main_of

HOW_TO_READ = {
    "one": (
        "One side has the prompt tokens, the other the codes of the codebook that they took, and a bright cell means that a "
        "token took much of its value from that code. Where there is room, weights from "
        f"{LEAST_WRITTEN:.2f} on are written in the cell."
    ),
    "words": (
        "The darker a word and the thicker its underline, the more of it the prompt reads. It says what is read, not what "
        "the reading is worth: for that see *What if*."
    ),
    "compare": (
        "Where one bar stands alone, only that text takes the code. Where the prompts are the same, at distance 0, the "
        "backbone tells the texts apart by their words alone."
    ),
    "what if": (
        "A code that is off is gone from the codebook: the input selects among the others, and the answer is computed again. "
        "If the probabilities stay, the code did not matter for this input, however often it was used."
    ),
    "code": (
        "A code stands for what the texts that take it have in common. Its nearest words are a hint and no translation, since "
        "a code is added to a prompt token and never read alone. Selection here is *expected*."
    ),
    "map": (
        "Each mark is a code at its place in the codebook, flattened to two dimensions: neighbours do about the same. A large "
        "mark is used much; its colour and shape say which texts give it the largest part of its weight; a thin grey cross "
        "is a dead code. The axes are not to scale. Selection here is *expected*."
    ),
    "data": (
        "Perplexity says over how many codes the texts spread; the bits say how much a prompt token's code tells of the right "
        "answer or the domain. Near the shuffled value it tells nothing. Selection here is *expected*."
    ),
}

_NO_CODEBOOK = {
    "pt": "This adapter has no codebook to show: it was trained with method pt, one fixed soft prompt for every input.",
    "vip-c": "This adapter has no codebook to show: it was trained with method vip-c, whose prompt follows the input directly.",
}

_SELECTION = {
    "expected": "expected (the mean of all draws)",
    "argmax": "argmax (the nearest code of each token)",
    "sample": "sample (drawn as in training)",
}

_MOST_LISTED = 12


def visible(text: str) -> str:
    """The text with a sign in the place of each character that would be invisible or turn others around."""
    return "".join(_sign(character) for character in text)


def _sign(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co"):
        return character
    number = ord(character)
    return chr(0x2400 + number) if number < 0x20 else f"\u27e8U+{number:04X}\u27e9"


def no_codes(found: Inspection) -> str:
    """Why an adapter selects no codes; empty if it does."""
    if not found.codes:
        return _NO_CODEBOOK.get(found.method, "This adapter has no codebook to show.")
    if not found.code_U:
        return "The codebook was not in use yet when this adapter was saved: its warm-up had not ended."
    return ""


def summary(found: Inspection) -> str:
    """What to know beside the heat map."""
    if why := no_codes(found):
        return why
    tokens = len(found.weight_PU)
    sentences = [
        f"**Code perplexity {found.perplexity:.1f}** of at most {found.codes}: the {tokens} prompt tokens of this input spread "
        f"their weight as if over {found.perplexity:.1f} codes used equally. Codes in use: {len(found.code_U)}.",
        f"Selection: {_SELECTION[found.how]}.",
        left_out(found),
        "This adapter has no contextualizer (method vip-q): every input selects alike." if found.method == "vip-q" else "",
    ]
    return " ".join(filter(None, sentences))


def attention(found: Inspection, token: int | None = None) -> str:
    """The text as HTML, each word with a background by how much one prompt token, or all on average, read of it."""
    if not found.words:
        return "<p>The prompt of this adapter does not look at the text: it has no contextualizer.</p>"
    read_PW: Tensor = found.attention_PW if token is None else found.attention_PW[token : token + 1]
    share_W = read_PW.mean(0).tolist()
    most = max(share_W) or 1.0
    marked = " ".join(
        f'<span class="word" style="--much:{share / most:.3f}" title="{share:.1%}">{html.escape(visible(word))}</span>'
        for word, share in zip(found.words, share_W, strict=True)
    )
    order = sorted(range(len(share_W)), key=lambda number: -share_W[number])[:3]
    top = ", ".join(f"{html.escape(visible(found.words[number]))} ({share_W[number]:.0%})" for number in order)
    return f'<p class="words">{marked}</p><p>Read most: {top}.</p>'


def comparison(first: Inspection, second: Inspection, found: Comparison) -> str:
    """What two texts share."""
    same = first.answer == second.answer
    answers = (
        f"Both are answered alike, {_code(first.answer)}."
        if same
        else (f"The first is answered {_code(first.answer)}, the second {_code(second.answer)}.")
    )
    moved = (
        "The prompt is the same for both."
        if not found.prompt_distance
        else f"**Distance of the prompts {found.prompt_distance:.2f}**, in units of the first one's size."
    )
    if why := no_codes(first):
        return f"{answers} {moved} {why}"
    sentences = [
        answers,
        f"**Distance of the codes {found.code_distance:.2f}**, 0 for the same and 1 for none in common "
        "(Jensen-Shannon divergence in bits).",
        moved,
        f"Of {len(first.weight_PU)} prompt tokens {len(found.changed_tokens)} have another likeliest code.",
        f"Of the codes that hold at least {LEAST_HELD:.0%} of a text's weight, both take {_listed(found.shared)}; "
        f"only the first {_listed(found.only_first)}; only the second {_listed(found.only_second)}.",
    ]
    return " ".join(sentences)


def effect(before: Inspection, found: Effect, what: str) -> str:
    """What became of the answer."""
    after = found.found
    same = after.answer == before.answer
    now = (
        f"The answer stays {_code(after.answer)}."
        if same
        else (f"The answer changes from {_code(before.answer)} to {_code(after.answer)}.")
    )
    if not before.probability:
        return f"{what}: {now}"
    most = max(found.change, key=lambda answer: abs(found.change[answer]))
    by = percent(found.change[most], sign=True)
    moved = f"**{percent(found.distance)} of the probability moves**, most of all {_code(most)} by {by}."
    return f"{what}: {moved} {now}"


def code(found: Survey, used: Use, near: Sequence[Near]) -> str:
    """What is known of one code."""
    words = ", ".join(f"{_code(each.token)} ({each.cosine:.2f})" for each in near)
    if used.share < LEAST_SHARE:
        return f"**Code {used.code} is dead**: it has less than {LEAST_SHARE:.2%} of all weight. Nearest words: {words}."
    label, domain = main_of(used.by_label), main_of(used.by_group)
    sentences = [
        f"**Code {used.code}** holds {used.share:.1%} of all weight over {len(found.examples)} texts; even use would be "
        f"{1 / len(found.share_K):.1%}.",
        f"The largest part is from texts whose right answer is {_code(label)} ({used.by_label[label]:.0%})." if label else "",
        f"Its main domain is {_code(domain)} ({used.by_group[domain]:.0%})." if domain else "",
        f"Nearest words by cosine: {words}.",
    ]
    return " ".join(filter(None, sentences))


def use(found: Survey) -> str:
    """How much of a codebook a data set uses."""
    return (
        f"{len(found.share_K)} codes; over {len(found.examples):,} texts {len(found.dead)} of them are dead and the others are "
        f"used as if {found.selection.code_perplexity:.1f} were used equally."
    )


def data_set(found: Survey) -> str:
    """What the codes tell over a data set."""
    selection = found.selection
    accuracy = found.accuracy
    targets = sum(bool(example.target) for example in found.examples)
    known = "them" if targets == len(found.examples) else f"the {targets:,} with a right answer"
    sentences = [
        f"{len(found.examples):,} texts" + (f", {accuracy:.1%} of {known} answered right." if accuracy is not None else "."),
        ""
        if len(found.share_K)
        else "This adapter has no codebook: its prompt is fixed or follows the input directly, and there is no use to show.",
    ]
    if len(found.share_K):
        sentences += [
            f"**Code perplexity {selection.code_perplexity:.1f}** of at most {len(found.share_K)}; "
            f"{len(found.dead)} codes are dead; one token takes {selection.token_perplexity:.1f} codes at once.",
            _bits(found),
        ]
    if found.skipped:
        sentences.append(f"{len(found.skipped)} texts were passed over. {plain(found.skipped[0])}")
    return " ".join(filter(None, sentences))


def percent(share: float, *, sign: bool = False) -> str:
    """A share with as many digits as a small share needs."""
    digits = 1 if abs(share) >= 0.01 else 3
    return f"{share:+.{digits}%}" if sign else f"{share:.{digits}%}"


def _bits(found: Survey) -> str:
    selection = found.selection
    told = []
    if found.knows("target"):
        told.append(f"**{selection.label_bits:.2f} bits of the label** (shuffled {selection.label_bits_shuffled:.2f})")
    if found.knows("group"):
        told.append(f"**{selection.group_bits:.2f} bits of the domain** (shuffled {selection.group_bits_shuffled:.2f})")
    unknown = [name for name, known in (("label", found.knows("target")), ("domain", found.knows("group"))) if not known]
    why = f" Not of the {' and the '.join(unknown)}: not every text has one, or nearly all differ." if unknown else ""
    return f"A token's code tells {', '.join([*told, f'{selection.input_bits:.2f} bits of the input'])}.{why}"


def _listed(codes: Sequence[int]) -> str:
    if not codes:
        return "none"
    shown = ", ".join(map(str, codes[:_MOST_LISTED]))
    return f"{shown} and {len(codes) - _MOST_LISTED} others" if len(codes) > _MOST_LISTED else shown


def _code(text: str) -> str:
    """Text that somebody else chose, as Markdown shows it literally."""
    return f"<code>{plain(text)}</code>" if text else "(nothing)"


def plain(text: str) -> str:
    """Text as Markdown shows it literally."""
    # Entities, which Markdown leaves as they are, and no sign that it would take for its own.
    return "".join(f"&#{ord(each)};" if each in "\\`*_{}[]()#+-.!|<>&$~\"'\n" else each for each in visible(text))
