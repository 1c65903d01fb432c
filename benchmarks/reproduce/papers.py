"""What the papers report, as far as we have their numbers."""

from __future__ import annotations

TABLE_1 = {
    "baseline": (76.23, 87.93, 52.62, 66.55, 65.36, 69.43),
    "fine-tuning, translated captions": (78.42, 90.02, 54.77, 70.06, 63.79, 60.10),
    "CAPIVARA": (79.56, 89.95, 56.27, 71.24, 66.40, 64.75),
    "CAPIVARA + Opt": (79.39, 89.13, 55.49, 69.26, 66.89, 67.93),
}
"""Mean recall in Portuguese, text to image and image to text: Flickr30k, COCO (both translated), PraCegoVer."""
ONE_SYNTHETIC = (79.46, 90.02, 56.26, 71.27, 66.09, 63.95)
"""Table A6, one synthetic caption per image."""
FINE_TUNING_2816 = (78.71, 89.85, 54.57, 69.17, 66.44, 66.57)
"""Table A7, the whole text tower with batches of 2,816; Table 1 has other numbers for what seems to be the same."""
ELEVATER = {"baseline": 56.97, "CAPIVARA": 57.51, "CAPIVARA + Opt": 56.90}
IMAGENET = {"baseline": 45.84, "CAPIVARA": 46.06, "CAPIVARA + Opt": 45.65}
TABLE_5 = {  # trainable parameters, hours on an RTX 8000, kWh as printed
    "CAPIVARA": ("278 M", "31", "6.49"),
    "CAPIVARA + LoRA": ("1.9 M", "16", "5.67"),
    "CAPIVARA + Opt": ("1.9 M", "2", "0.22"),
}
LACLIP = {"CC3M": (15.8, 21.5), "CC12M": (40.2, 48.4), "RedCaps": (42.9, 46.2), "LAION-400M, B/32": (62.0, 64.4)}
"""Zero-shot top-1 on ImageNet, CLIP and LaCLIP."""
SHARES = {"lora": 0.158, "adapter": 0.447, "compacter": 0.047, "soft-prompt": 0.0007}
"""PECTVLM: parameters of each method in percent of the text tower (XLM-RoBERTa large)."""


def mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)
