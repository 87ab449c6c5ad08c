"""The sentences of the page: how to read the picture and what is to be said of this text."""

from vip_demo.heatmap import LEAST_WRITTEN, left_out
from vip_demo.inspection import Inspection

HOW_TO_READ = (
    "Each row is one prompt token, each column one code of the codebook, and a bright cell means that the token took much of "
    f"its value from that code (weights from {LEAST_WRITTEN:.2f} on are written in the cell)."
)

_NO_CODEBOOK = {
    "pt": "This adapter has no codebook to show: it was trained with method pt, one fixed soft prompt for every input.",
    "vip-c": "This adapter has no codebook to show: it was trained with method vip-c, whose prompt follows the input directly.",
}

_SELECTION = {
    "expected": "expected (the mean of all draws)",
    "argmax": "argmax (the nearest code of each token)",
    "sample": "sample (drawn as in training)",
}


def summary(found: Inspection) -> str:
    """What to know beside the picture, in Markdown; holds nothing that a user typed."""
    if not found.codes:
        return _NO_CODEBOOK.get(found.method, "This adapter has no codebook to show.")
    if not found.code_U:
        return "The codebook was not in use yet when this adapter was saved: its warm-up had not ended."
    tokens = len(found.weight_PU)
    sentences = [
        f"**Code perplexity {found.perplexity:.1f}** of at most {found.codes}: the {tokens} prompt tokens of this input spread "
        f"their weight as if over {found.perplexity:.1f} codes used equally. Codes in use: {len(found.code_U)}.",
        f"Selection: {_SELECTION[found.how]}.",
        left_out(found),
        "This adapter has no contextualizer (method vip-q): every input selects alike." if found.method == "vip-q" else "",
        ""
        if found.probability
        else "The answer is free text, which the adapter always writes with the selection it was saved with.",
    ]
    return " ".join(filter(None, sentences))
