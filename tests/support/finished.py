"""The document of a finished run with everything that its readers need."""

from __future__ import annotations

import hashlib

from capivara_cli.models.run_document import RunDocument


def finished_document(weights: bytes = b"weights") -> RunDocument:
    """The document of a run whose ``adapter_model.safetensors`` has these bytes."""
    return {
        "name": "pt",
        "request": {
            "lang": "pt", "seed": 0, "steps": 3, "peft": "lora", "continue_from": "", "keep_lang": "", "lora_r": 8,
            "lora_alpha": 8.0, "lora_dropout": 0.0, "adapter_dim": 64, "compacter_reduction": 16, "phm_dim": 4,
            "prompt_tokens": 8, "optimizer": "lamb", "lr": 0.01, "min_lr": 0.0, "weight_decay": 0.1,
        },
        "base": {
            "source": {"model": "toy", "pretrained": ""},
            "identity": {"model": "toy", "weights": "sha256:0", "preprocess": "resize"},
            "image": "sha256:0",
            "text": "sha256:1",
        },
        "data": {
            "samples": 2, "captions": {"pt": 2}, "authors": [["pt", "human", 2]], "embedded_here": 2,
            "fingerprint": "sha256:2",
        },
        "batch": {"size": 2, "kept": 0, "warmup": 0, "precision": "fp32"},
        "objective": {"clip": 1.0},
        "history": [],
        "versions": {"capivara": "0.1.0"},
        "step": 3,
        "finished": True,
        "parameters": {
            "method": "lora", "targets": ["query"], "total": 9, "trainable": 3, "percent": 33.3, "parts": {},
        },
        "logit_scale": 2.0,
        "adapter_sha256": hashlib.sha256(weights).hexdigest(),
        "result": {
            "loss_first": 2.0, "loss_last": 1.0, "seconds": 1.0, "pairs_per_second": 2.0, "tokens": 9, "padded": 9,
            "peak_bytes": 1, "best_step": 3, "val": {"pt": 50.0, "mean": 50.0},
        },
    }  # fmt: skip
