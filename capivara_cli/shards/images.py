"""Decode untrusted images to RGB pixels, or raise ``BadSample`` with the reason.

The functions can be called from several threads, print nothing, and check the size in the header before they decode
pixels. Pillow is imported on the first call, not with this module.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import math
import struct
import warnings
import zlib
from typing import TYPE_CHECKING, Any, cast

from capivara_cli.errors import BadSample
from capivara_cli.shards.sample import Sample

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_MEGAPIXELS = 64
"""Largest image accepted, in millions of pixels: 64 million are 192 MB as RGB."""

MAX_ASPECT = 200
"""Longest side over shortest. CLIP scales the shortest to 224, so a one-pixel line would need gigabytes."""

# The formats of Pillow that datasets contain and that start no other program (EPS starts Ghostscript).
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JXL", "HEIF")

# Formats that ``preinit`` does not import; ``init`` would import forty others. The last three are not always installed.
_PLUGINS = (
    "PIL.TiffImagePlugin", "PIL.WebPImagePlugin", "PIL.AvifImagePlugin", "pillow_jxl", "pillow_heif.HeifImagePlugin",
)  # fmt: skip

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
NO_HEIF = "image is HEIC, which needs pillow-heif: pip install 'capivara[heic]'"

# Pillow refuses a PNG with more text or a larger colour profile than this, unpacked: a bomb must not fill the memory.
# Its own limit for one chunk, 1 MB, is less than image generators and editors store.
_PNG_TEXT = 64 << 20

_SUFFIX_OF = {
    b"\xff\xd8": "jpg", b"\x89PNG": "png", b"GIF8": "gif", b"II*\0": "tif", b"MM\0*": "tif", b"BM": "bmp",
}  # fmt: skip

# The exceptions of Pillow's parsers on damaged files. They are not documented: fuzzing found them.
_DAMAGE = (
    OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, EOFError,
    ZeroDivisionError, RuntimeError, AssertionError, MemoryError, struct.error, zlib.error,
)  # fmt: skip

_ORIENTATION = 0x0112  # the Exif tag


def decode_image(source: Sample | bytes, draft: int = 0) -> Image:
    """Decode an image (of a sample, or encoded bytes) to RGB: the first frame, upright, transparency over white.

    With ``draft``, a JPEG may be decoded at an eighth, a quarter or half of its size, if no side becomes shorter than
    ``draft`` pixels. This is several times as fast for photos that a tower sees at 224 pixels. 0 decodes the full size.

    Raises ``BadSample`` if there is no image, or if it is empty, larger than ``MAX_MEGAPIXELS``, longer than
    ``MAX_ASPECT`` allows, or damaged. A truncated file is an error; it is not filled with grey.
    """
    return _decoded(_open(source), draft)


def as_rgb(image: Image) -> Image:
    """An image of Pillow as ``decode_image`` returns it: RGB, upright, transparency over white.

    Raises ``BadSample`` if the file that it was opened from is damaged.
    """
    return _decoded(image, 0)


def _decoded(image: Image, draft: int) -> Image:
    try:
        if draft:
            image.draft(None, (draft, draft))
        image.load()
        return _upright(_as_rgb(image), _orientation(image))
    except _DAMAGE as error:
        raise BadSample(f"image cannot be decoded: {_reason(error)}") from error


def is_drafted(source: Sample | bytes, draft: int) -> bool:
    """Whether ``decode_image`` with this ``draft`` returns a smaller image than without it."""
    image = _open(source)
    size = image.size
    image.draft(None, (draft, draft))
    return image.size != size


def image_size(source: Sample | bytes) -> tuple[int, int]:
    """(width, height) in pixels, as displayed, from the header only. Raises ``BadSample`` like ``decode_image``."""
    image = _open(source)
    width, height = image.size
    return (height, width) if _orientation(image) >= 5 else (width, height)


def image_suffix(data: bytes) -> str:
    """The file name suffix of an encoded image, from its first bytes. Raises ``BadSample`` if it is not an image."""
    for magic, suffix in _SUFFIX_OF.items():
        if data.startswith(magic):
            return suffix
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp" and b"avif" in data[8:32]:
        return "avif"
    if _is_heif(data):
        return "heic"
    raise BadSample("image cannot be decoded: not an image" if data else "image has zero bytes")


def _is_heif(data: bytes) -> bool:
    """Whether an image is HEIC, the format of iPhones, or another one in HEIF."""
    brands = data[8:32] if data[4:8] == b"ftyp" else b""
    return b"avif" not in brands and any(brand in brands for brand in _HEIF_BRANDS)


def _open(source: Sample | bytes) -> Image:
    """Parse the header and check the size in it."""
    data = source.image if isinstance(source, Sample) else source
    if not data:
        raise BadSample("image has zero bytes")
    pillow = _pillow()
    try:
        image = pillow.open(io.BytesIO(data), formats=_formats())
    except pillow.DecompressionBombError as error:
        raise BadSample(f"image larger than {MAX_MEGAPIXELS} megapixels") from error
    except pillow.UnidentifiedImageError as error:
        if _is_heif(data) and "HEIF" not in _formats():
            raise BadSample(NO_HEIF) from error
        what = "damaged header" if data.startswith((*_SUFFIX_OF, b"RIFF")) else "not an image"
        raise BadSample(f"image cannot be decoded: {what}") from error
    except _DAMAGE as error:
        raise BadSample(f"image cannot be decoded: {_reason(error)}") from error
    width, height = image.size
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise BadSample(f"image larger than {MAX_MEGAPIXELS} megapixels")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadSample(f"image more than {MAX_ASPECT} times as long as wide")
    return image


@functools.cache
def _pillow() -> Any:
    """``PIL.Image`` without its warnings about files. They stay off: switching them per call is not thread-safe."""
    from PIL import Image

    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\b")
    Image.preinit()
    from PIL import PngImagePlugin

    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = _PNG_TEXT
    for name in _PLUGINS:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    return Image


@functools.cache
def _formats() -> tuple[str, ...]:
    return tuple(name for name in _FORMATS if name in _pillow().OPEN)


def _reason(error: BaseException) -> str:
    """A short reason that is equal for equal damage, so that it can be counted."""
    text = str(error).partition("\n")[0]
    if "truncated" in text.lower():
        return "truncated"
    if isinstance(error, OSError) and text and not any(char.isdigit() for char in text) and len(text) <= 60:
        return text
    return "damaged"


def _orientation(image: Image) -> int:
    """The Exif orientation, 1 to 8; 1 if it is missing or invalid."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except _DAMAGE:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(image: Image, orientation: int) -> Image:
    method = _pillow().Transpose
    turns = {
        2: method.FLIP_LEFT_RIGHT, 3: method.ROTATE_180, 4: method.FLIP_TOP_BOTTOM, 5: method.TRANSPOSE,
        6: method.ROTATE_270, 7: method.TRANSVERSE, 8: method.ROTATE_90,
    }  # fmt: skip
    return image.transpose(turns[orientation]) if orientation in turns else image


def _as_rgb(image: Image) -> Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _to_8_bit(image).convert("RGB")
    if image.has_transparency_data:
        above = image.convert("RGBA")
        flat = _pillow().new("RGBA", above.size, "white")
        flat.alpha_composite(above)
        return flat.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bit(image: Image) -> Image:
    """16-bit, 32-bit or float grey -> 8-bit grey. Pillow's conversion would turn every value above 255 white."""
    if image.mode.startswith("I;16"):
        image, full = image.convert("I"), 65535.0
    else:
        low, high = cast("tuple[float, float]", image.getextrema())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("pixels that are not numbers")
        scales = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
        full = next((scale for scale in scales if high <= scale), high)
    return image.point(lambda value: value * (255.0 / full) + 0.0).convert("L")
