"""Tiny random models of the classes that hf:MODEL loads, with their real processors, saved as the real ones are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.tiny_models import SENTENCE, SIZE, _bert_tokenizer, _spread, tiny_blip, tiny_git

WORDS = (
    "Write one sentence caption in language words and begin it with them Describe short say what happening Answer "
    "English Portuguese en pt user assistant What does describe detail shown paragraph USER ASSISTANT : . ? , um uma "
    "foto de gato"
)
WORD_THAT_ENDS = 15  # an
EYES = dict(
    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=SIZE, patch_size=16
)  # fmt: skip

USER_ASSISTANT = (
    "{% for turn in messages %}USER: {% for part in turn.content %}{% if part.type == 'image' %}<image>\n{% else %}"
    "{{ part.text }} {% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def _words(specials: list[str], template: str = "$A", **named: Any) -> Any:
    """A tokenizer of whole words that knows those of prefixes and requests; ``specials`` end with the unknown word."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate([*specials, *dict.fromkeys(f"{SENTENCE} {WORDS}".split())])}
    core = Tokenizer(models.WordLevel(words, unk_token=specials[-1]))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    begun = [(word, words[word]) for word in specials if word in template]
    core.post_processor = processors.TemplateProcessing(single=template, special_tokens=begun)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token=specials[0], unk_token=specials[-1], **named)
    tokenizer.add_special_tokens({"additional_special_tokens": specials})
    return tokenizer


def _saved(folder: Path, seed: int, model: Any, *parts: Any) -> Path:
    _spread(model, seed)
    for part in (model, *parts):
        part.save_pretrained(folder)
    return folder


def tiny_blip_that_ends(folder: Path) -> Path:
    """``tiny_blip`` with a word for its end, or it would seldom come to one; it is told of it by the config alone."""
    config = tiny_blip(folder) / "config.json"
    document = json.loads(config.read_text())
    document["text_config"]["sep_token_id"] = WORD_THAT_ENDS
    config.write_text(json.dumps(document))
    return folder


def tiny_vit_gpt2(folder: Path, seed: int = 0) -> Path:
    """A ``VisionEncoderDecoderModel`` of ViT and GPT-2, a tokenizer and an image processor."""
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTImageProcessor,
        ViTModel,
    )

    tokenizer = _bert_tokenizer()
    decoder = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=96, add_cross_attention=True,
            is_decoder=True, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )
    )  # fmt: skip
    model = VisionEncoderDecoderModel(encoder=ViTModel(ViTConfig(**EYES)), decoder=decoder)
    model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = 1
    model.config.pad_token_id = model.generation_config.pad_token_id = 0
    model.generation_config.eos_token_id = 2
    model.generation_config.max_length = 5  # to be overruled, as that of the real one
    return _saved(folder, seed, model, tokenizer, ViTImageProcessor(size={"height": SIZE, "width": SIZE}))


def tiny_florence2(folder: Path, seed: int = 0) -> Path:
    """A ``Florence2ForConditionalGeneration`` on BART with its processor."""
    from transformers import (
        CLIPImageProcessor,
        Florence2Config,
        Florence2ForConditionalGeneration,
        Florence2Processor,
    )

    specials = ["<pad>", "<s>", "</s>", "<image>", "<unk>"]
    named = {"image_token": "<image>"}
    tokenizer = _words(specials, bos_token="<s>", eos_token="</s>", extra_special_tokens=named)
    text = dict(
        model_type="bart", vocab_size=len(tokenizer), d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_ffn_dim=48, decoder_ffn_dim=48, encoder_attention_heads=2, decoder_attention_heads=2,
        max_position_embeddings=128, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2,
        forced_bos_token_id=None, forced_eos_token_id=None,
    )  # fmt: skip
    vision = dict(
        depths=[1, 1], patch_size=[7, 3], patch_stride=[4, 2], patch_padding=[3, 1], patch_prenorm=[False, True],
        embed_dim=[16, 32], num_heads=[2, 2], num_groups=[2, 2], window_size=2, projection_dim=32, drop_path_rate=0.0,
    )  # fmt: skip
    config = Florence2Config(text_config=text, vision_config=vision, image_token_id=3)
    model = Florence2ForConditionalGeneration(config)
    begins = dict(bos_token_id=1, eos_token_id=2, pad_token_id=0, decoder_start_token_id=2, forced_bos_token_id=1)
    model.generation_config.update(**begins, no_repeat_ngram_size=3, num_beams=3)  # as the real one
    images = CLIPImageProcessor(size={"height": SIZE, "width": SIZE}, do_center_crop=False)
    images.image_seq_length = 17  # 4 x 4 patches and their mean
    return _saved(folder, seed, model, Florence2Processor(images, tokenizer))


def tiny_paligemma(folder: Path, seed: int = 0) -> Path:
    """A ``PaliGemmaForConditionalGeneration`` with its processor."""
    from transformers import (
        PaliGemmaConfig,
        PaliGemmaForConditionalGeneration,
        PaliGemmaProcessor,
        SiglipImageProcessor,
    )

    tokenizer = _words(["<pad>", "<eos>", "<bos>", "<image>", "<unk>"], bos_token="<bos>", eos_token="<eos>")
    images = SiglipImageProcessor(size={"height": SIZE, "width": SIZE})
    images.image_seq_length = 4
    processor = PaliGemmaProcessor(images, tokenizer)
    text = dict(
        model_type="gemma", vocab_size=len(processor.tokenizer), hidden_size=32, intermediate_size=48,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=16, pad_token_id=0, bos_token_id=2,
        eos_token_id=1,
    )  # fmt: skip
    config = PaliGemmaConfig(
        vision_config=dict(model_type="siglip_vision_model", vision_use_head=False, projection_dim=32, **EYES),
        text_config=text, image_token_index=processor.image_token_id, projection_dim=32, hidden_size=32,
    )  # fmt: skip
    return _saved(folder, seed, PaliGemmaForConditionalGeneration(config), processor)


def tiny_qwen2_vl(folder: Path, seed: int = 0) -> Path:
    """A ``Qwen2VLForConditionalGeneration`` with its processor: as many patches as the image is large."""
    from transformers import (
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    specials = ["<pad>", "<|im_start|>", "<|im_end|>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>",
                "<|vision_end|>", "<unk>"]  # fmt: skip
    tokenizer = _words(specials, eos_token="<|im_end|>")
    text = dict(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=256, pad_token_id=0, bos_token_id=None, eos_token_id=2,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
    )  # fmt: skip
    config = Qwen2VLConfig(
        text_config=text,
        vision_config=dict(depth=2, embed_dim=32, hidden_size=32, num_heads=2, mlp_ratio=2, patch_size=8),
        image_token_id=3, video_token_id=4, vision_start_token_id=5, vision_end_token_id=6,
    )  # fmt: skip
    model = Qwen2VLForConditionalGeneration(config)
    model.generation_config.update(do_sample=True, temperature=0.01, top_p=0.001, top_k=1, repetition_penalty=1.05)
    images = Qwen2VLImageProcessor(patch_size=8, size={"shortest_edge": 16 * 16, "longest_edge": 48 * 48})
    template = (
        "{% for turn in messages %}<|im_start|>{{ turn.role }}\n{% for part in turn.content %}"
        "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
        "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    processor = Qwen2VLProcessor(images, tokenizer, Qwen2VLVideoProcessor(), chat_template=template)
    return _saved(folder, seed, model, processor)


def tiny_llava(folder: Path, seed: int = 0) -> Path:
    """A ``LlavaForConditionalGeneration`` of CLIP and Llama with its processor."""
    from transformers import CLIPImageProcessor, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    tokenizer = _words(["<pad>", "<s>", "</s>", "<image>", "<unk>"], "<s> $A", bos_token="<s>", eos_token="</s>")
    text = dict(
        model_type="llama", vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=256, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=dict(model_type="clip_vision_model", projection_dim=32, **EYES), text_config=text,
        image_token_index=3, image_seq_length=4, vision_feature_layer=-2,
    )  # fmt: skip
    images = CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    processor = LlavaProcessor(
        images, tokenizer, patch_size=16, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=USER_ASSISTANT,
    )  # fmt: skip
    return _saved(folder, seed, LlavaForConditionalGeneration(config), processor)


def tiny_idefics3(folder: Path, seed: int = 0) -> Path:
    """An ``Idefics3ForConditionalGeneration`` (SmolVLM's kind): an image is cut into as many pieces as it is large."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessor, Idefics3Processor

    pieces = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    around = ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    specials = ["<pad>", "<s>", "</s>", "<image>", *around, *pieces, "<unk>"]
    tokenizer = _words(specials, "<s> $A", bos_token="<s>", eos_token="</s>")
    text = dict(
        model_type="llama", vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=256, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config = Idefics3Config(vision_config=EYES, text_config=text, image_token_id=3, scale_factor=2, pad_token_id=0)
    images = Idefics3ImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": SIZE})
    processor = Idefics3Processor(images, tokenizer, image_seq_len=1, chat_template=USER_ASSISTANT)
    return _saved(folder, seed, Idefics3ForConditionalGeneration(config), processor)


MODELS: dict[str, Callable[[Path], Path]] = {
    "blip": tiny_blip_that_ends,
    "git": tiny_git,
    "vit-gpt2": tiny_vit_gpt2,
    "florence2": tiny_florence2,
    "paligemma": tiny_paligemma,
    "qwen2-vl": tiny_qwen2_vl,
    "llava": tiny_llava,
    "idefics3": tiny_idefics3,
}
Folders = Callable[[str], Path]
"""The folder of a family of ``MODELS``, made when it is first asked for."""
