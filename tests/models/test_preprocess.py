"""What an image tower is shown: open_clip's numbers bit by bit, and drafts of large photos that look the same to it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from support import variants
from support.made import PHOTOS

from capivara_cli.models.preprocess import Pixels
from capivara_cli.shards.images import decode_image

SETTINGS: dict[str, Any] = {
    "size": 224, "mode": "RGB", "mean": (0.4814, 0.4578, 0.4082), "std": (0.2686, 0.2613, 0.2757),
    "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0,
}  # fmt: skip


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8))


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("size", [(300, 500), (640, 230), (50, 40)])
def test_numbers_are_those_of_open_clip_bit_by_bit(mode, size):
    settings = {**SETTINGS, "resize_mode": mode}
    theirs = image_transform_v2(PreprocessCfg(**settings), is_train=False)
    ours = Pixels(settings)
    shown = ours(noise(*size))
    assert (shown.dtype, shown.shape) == (torch.uint8, (3, 224, 224))
    assert torch.equal(ours.normalised(shown), theirs(noise(*size)))
    batch = ours.normalised(torch.stack([shown, shown]))
    assert torch.equal(batch[1], theirs(noise(*size)))


def jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def test_a_draft_is_never_smaller_than_what_is_asked_for():
    data = jpeg(noise(1000, 1900))
    assert decode_image(data).size == (1000, 1900)
    assert decode_image(data, 448).size == (500, 950)
    assert decode_image(data, 501).size == (1000, 1900)
    assert decode_image(data, 100).size == (125, 238)


def test_other_formats_are_decoded_whole():
    out = io.BytesIO()
    noise(1000, 900).save(out, "PNG")
    assert decode_image(out.getvalue(), 100).size == (1000, 900)


@pytest.fixture(scope="module")
def tower() -> torch.nn.Module:
    """The image tower of a ViT-S-32 with random weights."""
    import open_clip

    torch.manual_seed(0)
    return open_clip.create_model("ViT-S-32", pretrained=None).visual.eval()


def mosaics(folder: Path, across: int) -> list[bytes]:
    """Large photos with the detail of small ones: so many across and down, of others each."""
    files = sorted((folder / "images").glob("*.jpg"))
    made = []
    for start in range(0, 3 * across * across, across * across):
        sheet = Image.new("RGB", (across * 500, across * 375))
        for place, file in enumerate(files[start : start + across * across]):
            with Image.open(file) as photo:
                sheet.paste(photo.resize((500, 375)), (place % across * 500, place // across * 375))
        made.append(jpeg(sheet))
    return made


@pytest.mark.parametrize("across", variants.some([6, 8], 1))
def test_a_draft_looks_the_same_to_the_image_tower(across, tower):
    if not PHOTOS.is_dir():
        pytest.skip("needs the photos of ../shared")
    pixels, photos = Pixels(SETTINGS), mosaics(PHOTOS, across)
    whole, draft = (torch.stack([pixels(decode_image(data, size)) for data in photos]) for size in (0, pixels.draft))
    assert not torch.equal(whole, draft)
    with torch.inference_mode():
        first, second = (
            torch.nn.functional.normalize(tower(pixels.normalised(each)), dim=-1) for each in (whole, draft)
        )
    assert (first * second).sum(-1).min() > 0.9999
    # Random towers tell images apart by less than trained ones: what a draft changes is little even of that.
    other = (first[:, None] - first[None]).norm(dim=-1)[~torch.eye(len(first), dtype=torch.bool)]
    assert (first - second).norm(dim=-1).max() < 0.1 * other.min()
