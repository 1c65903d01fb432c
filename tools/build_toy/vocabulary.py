"""The tokenizer of the toy CLIP: a Unigram vocabulary with the special tokens of XLM-RoBERTa."""

from __future__ import annotations

import math
import random
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from capivara_cli.languages.prompts import PREFIXES
from capivara_cli.toy.grammar import LANGUAGES, brief, noisy, parallel
from capivara_cli.toy.scenes import sample_scenes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}  # ids 0 to 3
MASK = "<mask>"  # the last id, as in XLM-RoBERTa
CONTEXT_LENGTH = 77  # tokens, the default of open_clip
PIECES = 900  # at most, without the alphabet
MAX_PARTS = 2  # of one word
SPACE = "▁"  # SentencePiece's mark of the beginning of a word
# Latin with accents, punctuation, combining accents and Devanagari: real sentences must not become <unk>.
_BLOCKS = ((0x21, 0x7F), (0xA1, 0x250), (0x300, 0x345), (0x900, 0x980), (0x1E00, 0x1F00), (0x2010, 0x2030))
_EXTRA = "₹€™′″⁠‌‍"  # the last three join and separate Devanagari letters


def alphabet() -> list[str]:
    """Every character that has its own token, NFKC-normalised."""
    points = [point for start, stop in _BLOCKS for point in range(start, stop)] + [ord(sign) for sign in _EXTRA]
    normal = (unicodedata.normalize("NFKC", chr(point)) for point in points if unicodedata.category(chr(point)) != "Cn")
    return sorted({sign for text in normal for sign in text if not sign.isspace()})


def corpus(count: int, seed: int) -> Iterator[str]:
    """Sentences in all languages about `count` training scenes, some alt-text, and the captioner's prefixes."""
    rng = random.Random(f"vocabulary-{seed}")
    yield from PREFIXES
    for scene in sample_scenes("train", count, seed):
        yield from parallel(scene, rng).values()
        yield from (brief(scene, lang, rng) for lang in LANGUAGES)
        yield noisy(scene, rng)[0]


def train(sentences: Iterable[str]) -> PreTrainedTokenizerFast:
    """A fast tokenizer whose pieces come from `sentences`; it adds `<s>` and `</s>` like that of XLM-RoBERTa."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({SPACE + word for sentence in sentences for word in sentence.split()})
    table = [(token, 0.0) for token in SPECIAL.values()] + _scored(words) + [(MASK, 0.0)]
    tokenizer = Tokenizer(models.Unigram(table, unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {**SPECIAL, "cls_token": "<s>", "sep_token": "</s>", "mask_token": MASK}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=CONTEXT_LENGTH, **names)


def _scored(words: list[str]) -> list[tuple[str, float]]:
    """Pieces with their log probability, likeliest first: shared parts of words, then the alphabet.

    The Unigram trainer gives a different vocabulary in every process, and on so little text it makes pieces of whole
    phrases and splits short words into letters. Byte-pair merges over the distinct words are deterministic and find
    the stems: `ebomvu` is `e` + `bomvu`. A word with more than `MAX_PARTS` parts becomes one piece.
    """
    from tokenizers import Tokenizer, models, trainers

    learner = Tokenizer(models.BPE())
    learner.train_from_iterator(words, trainers.BpeTrainer(vocab_size=PIECES, min_frequency=2, show_progress=False))
    parts = {word: learner.encode(word).tokens for word in words}
    parts.update({word: [word] for word, split in parts.items() if len(split) > MAX_PARTS})
    counts = Counter(part for split in parts.values() for part in split)
    total = counts.total() + len(alphabet())
    counts.update({sign: 0 for sign in (SPACE, *alphabet())})
    return sorted(
        ((piece, math.log((count + 0.5) / total)) for piece, count in counts.items()),
        key=lambda row: (-row[1], row[0]),
    )
