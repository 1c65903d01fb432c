"""The keywords of functions, for type checkers. Generated from the options by docs/make_api.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from capivara_cli.library.sources import StrPath


class PackKeywords(TypedDict, total=False):
    lang: str
    format: str
    images: StrPath
    split: str | Sequence[str]
    shard_size: int
    verify: bool
    seed: int
    max_failures: int
    progress: bool


class CaptionKeywords(TypedDict, total=False):
    n: int
    captioner: str
    lang: str
    prefixes: StrPath
    temperature: float
    top_p: float
    beams: int
    max_tokens: int
    repetition_penalty: float
    no_repeat_ngram: int
    distinct: bool
    clean: bool
    batch_size: int
    base_url: str
    concurrency: int
    bits: int
    compile: bool
    device: str
    seed: int
    max_failures: int
    progress: bool


class RewriteKeywords(TypedDict, total=False):
    n: int
    rewriter: str
    lang: str
    tries: int
    exemplars: StrPath | Sequence[StrPath]
    shots: int
    temperature: float
    top_p: float
    max_tokens: int
    via: str | Sequence[str]
    translator: str
    synonyms: StrPath
    batch_size: int
    base_url: str
    concurrency: int
    bits: int
    compile: bool
    cache: bool
    device: str
    seed: int
    max_failures: int
    progress: bool


class TranslateKeywords(TypedDict, total=False):
    lang: str | Sequence[str]
    from_: str
    translator: str
    package: StrPath | Sequence[StrPath]
    only: str
    back_translate: bool
    guards: str | Sequence[str]
    beams: int
    cache: bool
    batch_size: int
    base_url: str
    concurrency: int
    replace: bool
    device: str
    seed: int
    max_failures: int
    progress: bool


class FilterKeywords(TypedDict, total=False):
    model: StrPath
    pretrained: StrPath
    score: bool
    precision: Literal["auto", "fp32", "bf16"]
    select: Literal["none", "rank", "threshold", "threshold-diversity"]
    min_score: float
    top_k: int
    k_min: int
    max_alike: float
    per_lang: bool
    lang: str | Sequence[str]
    level: Literal["caption", "image"]
    on: Literal["best", "first", "mean"]
    score_by: Literal["text", "original", "best"]
    top_fraction: float
    quantile: float
    rules: str | Sequence[str]
    min_words: int
    max_words: int
    min_chars: int
    max_chars: int
    max_images: int
    min_side: int
    max_aspect: float
    min_entropy: float
    batch_size: int
    device: str
    seed: int
    max_failures: int
    progress: bool


class DedupeKeywords(TypedDict, total=False):
    threshold: float
    k_min: int
    lang: str | Sequence[str]
    paper: bool
    captions: Literal["thin", "keep"]
    images: Literal["keep", "exact", "phash", "embedding"]
    keep: Literal["first", "best"]
    radius: int
    similarity: float
    clusters: int
    model: StrPath
    pretrained: StrPath
    against: StrPath | Sequence[StrPath]
    against_by: str | Sequence[str]
    data: StrPath
    split: str
    batch_size: int
    device: str
    seed: int
    max_failures: int
    progress: bool


class SplitKeywords(TypedDict, total=False):
    part: Literal["train", "heldout"]
    fraction: float
    seed: int
    progress: bool


class TrainKeywords(TypedDict, total=False):
    lang: str | Sequence[str]
    separately: bool
    model: StrPath
    pretrained: StrPath
    continue_from: StrPath
    name: str
    runs: str
    seeds: int
    steps: int
    batch_size: int
    lr: float
    min_lr: float
    warmup: int
    weight_decay: float
    optimizer: Literal["adamw", "adam-l2"]
    ema: float
    objective: str
    teacher: StrPath
    distill_loss: Literal["mse", "cosine"]
    align: Literal["none", "native", "mt-source", "mt-pivot"]
    align_loss: Literal["mse", "cosine", "contrastive"]
    align_weight: float
    align_anchor: Literal["frozen", "live"]
    text_sampling: Literal["uniform", "weighted", "all"]
    text_weights: str | Sequence[str]
    views: int
    shots: int
    split_seed: int
    val: StrPath
    val_every: int
    patience: int
    peft: Literal["lora", "adapter", "compacter", "soft-prompt", "layernorm", "lit", "full"]
    lora_r: int
    lora_alpha: float
    lora_dropout: float
    lora_targets: str | Sequence[str]
    lora_init: str
    lora_use: str | Sequence[str]
    projection: bool | None
    layernorm: bool | None
    adapter_dim: int
    compacter_reduction: int
    phm_dim: int
    prompt_tokens: int
    keep_lang: str | Sequence[str]
    keep_share: float
    keep_weight: float
    temperature: float
    learn_temperature: bool
    precision: Literal["auto", "fp32", "bf16"]
    memory: str
    grad_checkpointing: bool
    compile: bool
    checkpoint_every: int
    log: str | Sequence[str]
    out: str
    device: str
    seed: int
    overwrite: bool
    max_failures: int
    energy: bool
    progress: bool


class EvalKeywords(TypedDict, total=False):
    model: StrPath
    pretrained: StrPath
    lang: str | Sequence[str]
    data: StrPath
    split: str
    k: str | int | Sequence[int]
    mode: str | Sequence[str]
    train: StrPath | Sequence[StrPath]
    classes: StrPath
    templates: StrPath
    labels: str
    prompt: str
    translate_queries: bool
    translator: str
    table: StrPath | Sequence[StrPath]
    batch_size: int
    device: str
    seed: int
    max_failures: int
    energy: bool
    progress: bool


class AdaptKeywords(TypedDict, total=False):
    recipe: StrPath
    lang: str
    name: str
    runs: str
    model: StrPath
    pretrained: StrPath
    captioner: str
    n: int | None
    rewriter: str
    translator: str
    top_k: int | None
    min_score: float | None
    steps: int | None
    batch_size: int | None
    lr: float | None
    warmup: int | None
    seeds: int | None
    eval: StrPath | Sequence[StrPath]
    eval_lang: str | Sequence[str]
    fraction: float | None
    set: str | Sequence[str]
    device: str
    seed: int
    overwrite: bool
    max_failures: int
    energy: bool
    progress: bool


class SearchKeywords(TypedDict, total=False):
    model: StrPath
    pretrained: StrPath
    lang: str
    k: int
    index: Literal["auto", "exact", "faiss"]
    html: StrPath
    translator: str
    device: str
    progress: bool


class ExportKeywords(TypedDict, total=False):
    format: str
    repo: str
    overwrite: bool
    progress: bool


class FootprintKeywords(TypedDict, total=False):
    paper: bool
    country: str
    region: str
    intensity: str
    progress: bool
