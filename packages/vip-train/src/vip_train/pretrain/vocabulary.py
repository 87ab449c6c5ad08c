"""Trains the backbone's own vocabulary: a Unigram model with T5's conventions.

Conventions kept from T5 (Raffel et al., 2020): `<pad>` is id 0 and also starts the decoder, `</s>` is id 1 and closes every
text, `<unk>` is id 2, spaces are written as the meta symbol, and the sentinels `<extra_id_0>`, ... mark corrupted spans.
"""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"


def sentinel(index: int) -> str:
    """The name of the index-th span marker, `<extra_id_{index}>`."""
    return f"<extra_id_{index}>"


def train_vocabulary(paragraphs: Iterable[str], *, size: int, sentinels: int) -> PreTrainedTokenizerFast:
    """Learns a Unigram vocabulary (Kudo, 2018) and wraps it as a transformers tokenizer.

    Args:
        paragraphs: the text to learn from, one paragraph each.
        size: V, the number of ids in all, special tokens and sentinels included.
        sentinels: how many `<extra_id_i>` tokens to reserve; they take the last ids, in ascending order.

    Returns:
        A tokenizer that appends `</s>`, with exactly `size` ids.

    Raises:
        ValueError: the text is too small to fill the vocabulary, or has more letters than it has room for.
    """
    if size - sentinels <= len((PAD, EOS, UNK)):
        raise ValueError(f"a vocabulary of {size} ids has no room beside {sentinels} sentinels")
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=size - sentinels, special_tokens=[PAD, EOS, UNK], unk_token=UNK, show_progress=False
    )
    try:
        tokenizer.train_from_iterator(paragraphs, trainer)
    except Exception as error:  # tokenizers raises nothing narrower
        raise ValueError(f"{size} ids are too few for the text: {error}") from error
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS}", pair=f"$A {EOS} $B {EOS}", special_tokens=[(EOS, tokenizer.token_to_id(EOS))]
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        additional_special_tokens=[sentinel(i) for i in range(sentinels)],
        clean_up_tokenization_spaces=False,
    )
    if len(wrapped) != size:
        raise ValueError(
            f"the text yields a vocabulary of {len(wrapped)} ids, {size} were asked for: give more text or fewer ids"
        )
    return wrapped
