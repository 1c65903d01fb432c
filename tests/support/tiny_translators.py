"""Tiny random translation models of the real classes, made here, and the same converted for CTranslate2."""

from __future__ import annotations

import json
import shutil
import string
from pathlib import Path
from typing import Any

from support.tiny_models import SENTENCE, _spread

M2M_SIZES = dict(
    d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
    encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=256,
)  # fmt: skip


def _spm(folder: Path) -> Path:
    import io

    import sentencepiece

    pieces = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([SENTENCE, *SENTENCE.split()] * 20), model_writer=pieces, vocab_size=80,
        hard_vocab_limit=False, bos_id=0, pad_id=1, eos_id=2, unk_id=3, minloglevel=3,
    )  # fmt: skip
    (folder / "joint.spm").write_bytes(pieces.getvalue())
    return folder / "joint.spm"


def tiny_nllb(folder: Path, seed: int = 0) -> Path:
    """``M2M100ForConditionalGeneration`` with NLLB's tokenizer class."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    letters = [*["<s>", "<pad>", "</s>", "<unk>"], "▁", *string.ascii_letters, *string.punctuation]
    merges = [("▁", letter) for letter in string.ascii_lowercase]
    words = {word: index for index, word in enumerate([*letters, *("".join(pair) for pair in merges)])}
    tokenizer = NllbTokenizer(vocab=words, merges=merges)
    size = len(tokenizer)
    model = M2M100ForConditionalGeneration(
        M2M100Config(
            vocab_size=size, pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, **M2M_SIZES
        )
    )
    return _saved(model, tokenizer, folder, seed)


def tiny_m2m(folder: Path, seed: int = 0) -> Path:
    """``M2M100ForConditionalGeneration`` with its own tokenizer class."""
    import sentencepiece
    from transformers import M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    spm = _spm(folder)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(spm))
    words = {processor.id_to_piece(index): index for index in range(processor.get_piece_size())}
    (folder / "words.json").write_text(json.dumps(words))
    tokenizer = M2M100Tokenizer(str(folder / "words.json"), str(spm))
    size = tokenizer.convert_tokens_to_ids("__zu__") + 9
    model = M2M100ForConditionalGeneration(
        M2M100Config(
            vocab_size=size, pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, **M2M_SIZES
        )
    )
    return _saved(model, tokenizer, folder, seed)


def tiny_t5(folder: Path, seed: int = 0) -> Path:
    """``T5ForConditionalGeneration`` with the tokens of MADLAD for its targets."""
    from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

    words = [*["<pad>", "</s>", "<unk>"], "<2pt>", "<2xh>", *(f"▁{word}" for word in dict.fromkeys(SENTENCE.split()))]
    letters = ["▁", *string.ascii_lowercase, "."]
    tokenizer = T5Tokenizer(vocab=[(word, -1.0 - place / 100) for place, word in enumerate([*words, *letters])])
    tokenizer.add_tokens(["<2pt>", "<2xh>"])
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(tokenizer), d_model=32, d_kv=16, d_ff=48, num_layers=1, num_heads=2, pad_token_id=0,
            eos_token_id=1, decoder_start_token_id=0,
        )
    )  # fmt: skip
    return _saved(model, tokenizer, folder, seed)


def tiny_marian(folder: Path, seed: int = 0, targets: tuple[str, ...] = ()) -> Path:
    """``MarianMTModel``; with ``targets``, one that is told the language by ``>>por<<``."""
    import sentencepiece
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    spm = _spm(folder)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(spm))
    words = {processor.id_to_piece(index): index for index in range(processor.get_piece_size())}
    words |= {f">>{target}<<": len(words) + place for place, target in enumerate(targets)}
    words.pop("<pad>", None)
    words = {word: place for place, word in enumerate(words)}
    words["<pad>"] = len(words)
    (folder / "words.json").write_text(json.dumps(words))
    tokenizer = MarianTokenizer(source_spm=str(spm), target_spm=str(spm), vocab=str(folder / "words.json"))
    model = MarianMTModel(
        MarianConfig(
            vocab_size=len(words), pad_token_id=words["<pad>"], eos_token_id=words["</s>"], bos_token_id=0,
            decoder_start_token_id=words["<pad>"], forced_eos_token_id=None, **M2M_SIZES,
        )
    )  # fmt: skip
    return _saved(model, tokenizer, folder, seed)


def _saved(model: Any, tokenizer: Any, folder: Path, seed: int) -> Path:
    _spread(model, seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def converted(folder: Path, quantization: str = "float32") -> Path:
    """The model in a folder as ``ct2-transformers-converter --copy_files`` leaves it: a folder beside it."""
    from ctranslate2.converters import TransformersConverter

    target = folder.with_name(f"{folder.name}-ct2{'' if quantization == 'float32' else f'-{quantization}'}")
    TransformersConverter(str(folder)).convert(str(target), quantization=quantization)
    for file in folder.iterdir():
        if not file.name.startswith(("model", "config", "generation")):
            shutil.copy(file, target / file.name)
    return target
