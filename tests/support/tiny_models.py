"""Tiny random models of the real captioner classes, made here: nothing is downloaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

SENTENCE = (
    "the foreground features a photo of picture this is scene depicting an image portrait captures moment painting art "
    "shows dog cat red blue ball house running on in with two man"
)
SIZE = 32


def _tokenizer(specials: list[str], template: str) -> object:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {word: index for index, word in enumerate([*specials, *dict.fromkeys(SENTENCE.split())])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=specials[-1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    named = [(word, words[word]) for word in specials if word in template]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=named)
    return tokenizer


def _spread(model: object, seed: int) -> None:
    """Random init is nearly constant: spread it out, so that images and prompts make a difference."""
    import torch

    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():  # type: ignore[attr-defined]
            parameter.normal_(std=0.35)


_BLIP2_TEXT: dict[str, dict[str, object]] = {
    "opt": dict(
        model_type="opt", hidden_size=32, word_embed_proj_dim=32, ffn_dim=48, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=128, pad_token_id=0, bos_token_id=1, eos_token_id=1,
    ),
    "t5": dict(
        model_type="t5", d_model=32, d_kv=16, d_ff=48, num_layers=2, num_decoder_layers=2, num_heads=2,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    ),
}  # fmt: skip


def tiny_blip2(folder: Path, seed: int = 0, text_model: str = "opt") -> Path:
    """A ``Blip2ForConditionalGeneration`` on OPT or T5 with its processor, saved as the real one is."""
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        BlipImageProcessor,
        PreTrainedTokenizerFast,
    )

    core = _tokenizer(["<pad>", "</s>", "<image>", "<unk>"], "</s> $A" if text_model == "opt" else "$A </s>")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="</s>", eos_token="</s>", unk_token="<unk>"
    )
    processor = Blip2Processor(BlipImageProcessor(size={"height": SIZE, "width": SIZE}), tokenizer, num_query_tokens=32)
    config = Blip2Config(
        vision_config=dict(
            hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=SIZE,
            patch_size=16,
        ),
        qformer_config=dict(
            hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=4,
            encoder_hidden_size=32, cross_attention_frequency=1,
        ),
        text_config=_BLIP2_TEXT[text_model] | {"vocab_size": len(tokenizer)},
        num_query_tokens=32,
        image_token_index=2,
    )  # fmt: skip
    model = Blip2ForConditionalGeneration(config)
    _spread(model, seed)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def as_first_published(folder: Path, target: Path) -> Path:
    """A copy of a BLIP-2 folder as of 2023: neither the config nor the processor knows of a token for the image."""
    shutil.copytree(folder, target)
    for name, keys in {"config.json": ["image_token_index"], "processor_config.json": ["num_query_tokens"]}.items():
        document = json.loads((target / name).read_text())
        for key in keys:
            del document[key]
        (target / name).write_text(json.dumps(document))
    return target


def _bert_tokenizer() -> object:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer(["[PAD]", "[CLS]", "[SEP]", "[UNK]"], "[CLS] $A [SEP]"),
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        bos_token="[CLS]",
        eos_token="[SEP]",
        unk_token="[UNK]",
    )


def tiny_blip(folder: Path, seed: int = 0) -> Path:
    """A ``BlipForConditionalGeneration`` with its processor."""
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    tokenizer = _bert_tokenizer()
    text = dict(
        vocab_size=len(tokenizer), hidden_size=32, encoder_hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, projection_dim=16, max_position_embeddings=96, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, sep_token_id=2,
    )  # fmt: skip
    vision = dict(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=SIZE, patch_size=16
    )
    model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision, projection_dim=16))
    _spread(model, seed)
    model.save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": SIZE, "width": SIZE}), tokenizer).save_pretrained(folder)
    return folder


def tiny_git(folder: Path, seed: int = 0) -> Path:
    """A ``GitForCausalLM`` with its processor."""
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor

    tokenizer = _bert_tokenizer()
    vision = dict(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=SIZE, patch_size=16
    )
    config = GitConfig(
        vision_config=vision, vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=128, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = GitForCausalLM(config)
    _spread(model, seed)
    model.save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    GitProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def tiny_argos(folder: Path, source: str, target: str, seed: int = 0) -> Path:
    """A random Marian model as a real ``.argosmodel``: SentencePiece, CTranslate2 int8, metadata, zipped."""
    import io
    import json
    import zipfile

    import sentencepiece
    from ctranslate2.converters import TransformersConverter
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    pieces = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([SENTENCE, *SENTENCE.split()] * 20), model_writer=pieces, vocab_size=80,
        hard_vocab_limit=False, unk_id=2, bos_id=-1, eos_id=0, pad_id=-1, minloglevel=3,
    )  # fmt: skip
    (folder / "joint.spm").write_bytes(pieces.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=pieces.getvalue())
    words = {processor.id_to_piece(index): index for index in range(processor.get_piece_size())}
    words["<pad>"] = len(words)  # last, or the converter counts one token too many
    (folder / "words.json").write_text(json.dumps(words))
    spm = str(folder / "joint.spm")
    MarianTokenizer(source_spm=spm, target_spm=spm, vocab=str(folder / "words.json")).save_pretrained(folder / "marian")
    pad = words["<pad>"]
    model = MarianMTModel(
        MarianConfig(
            vocab_size=len(words), d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=256,
            pad_token_id=pad, eos_token_id=words["</s>"], decoder_start_token_id=pad, forced_eos_token_id=None,
        )
    )  # fmt: skip
    _spread(model, seed)
    model.save_pretrained(folder / "marian")
    TransformersConverter(str(folder / "marian")).convert(str(folder / "converted"), quantization="int8")
    name = f"translate-{source}_{target}"
    metadata = {"package_version": "1.0", "argos_version": "1.9", "from_code": source, "to_code": target,
                "from_name": source, "to_name": target}  # fmt: skip
    with zipfile.ZipFile(folder / f"{name}.argosmodel", "w") as archive:
        archive.writestr(f"{name}/metadata.json", json.dumps(metadata))
        archive.writestr(f"{name}/sentencepiece.model", pieces.getvalue())
        for file in sorted((folder / "converted").iterdir()):
            archive.write(file, f"{name}/model/{file.name}")
    return folder / f"{name}.argosmodel"


def tiny_gpt2(folder: Path, seed: int = 0) -> Path:
    """A random ``GPT2LMHeadModel`` on bytes, with an own token for the line break."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    trainer = ByteLevelBPETokenizer()
    trainer.train_from_iterator([SENTENCE], vocab_size=300, special_tokens=["<pad>", "</s>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trainer._tokenizer, pad_token="<pad>", eos_token="</s>")
    tokenizer.save_pretrained(folder)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2, n_positions=1024, pad_token_id=0, eos_token_id=1
        )
    )
    _spread(model, seed)
    model.save_pretrained(folder)
    return folder
