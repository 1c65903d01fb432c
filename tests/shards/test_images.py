"""Untrusted images: decoded correctly, or refused with a reason."""

from __future__ import annotations

import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from capivara_cli.errors import BadSample
from capivara_cli.shards.images import MAX_MEGAPIXELS, decode_image, image_size, image_suffix
from capivara_cli.shards.sample import Sample

pytestmark = pytest.mark.filterwarnings("ignore")  # pytest undoes the filters; that none is printed is tested below


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def reason(data: bytes) -> str:
    with pytest.raises(BadSample) as caught:
        decode_image(data)
    return caught.value.reason


def noise(width: int = 96, height: int = 64) -> Image.Image:
    return Image.frombytes("RGB", (width, height), bytes(i * i * 7 % 251 for i in range(width * height * 3)))


def test_pixels_of_a_png_are_its_pixels() -> None:
    assert decode_image(encode(noise(), "PNG")).tobytes() == noise().tobytes()


def test_takes_samples_and_their_image_member() -> None:
    sample = Sample("a", {"json": b"{}", "png": encode(Image.new("RGB", (3, 2), (1, 2, 3)), "PNG")})
    assert decode_image(sample).getpixel((0, 0)) == (1, 2, 3)
    assert image_size(sample) == (3, 2)
    with pytest.raises(BadSample, match=r"^no image$"):
        decode_image(Sample("a", {"json": b"{}"}))


def test_zero_bytes() -> None:
    assert reason(b"") == "image has zero bytes"


def test_text_with_the_suffix_of_an_image() -> None:
    assert reason(b"<html>403 Forbidden</html>" * 20) == "image cannot be decoded: not an image"


def test_corrupt_jpeg() -> None:
    data = encode(noise(), "JPEG")
    assert reason(data[:2] + bytes(400)) == "image cannot be decoded: damaged header"
    start = data.index(b"\xff\xda")
    assert reason(data[:start] + b"\xff\xda\x00\x00" + data[start + 4 :]).startswith("image cannot be decoded: ")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_truncated_files_are_refused_not_filled_with_grey(kind: str, kept: float) -> None:
    data = encode(noise(), kind)
    assert reason(data[: int(len(data) * kept)]).startswith("image cannot be decoded: ")


def test_a_jpeg_that_lacks_its_last_byte_is_truncated() -> None:
    assert reason(encode(noise(), "JPEG")[:-1]) == "image cannot be decoded: truncated"


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_bombs_are_refused_from_the_header(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = encode(Image.new("1", (side, side)), "PNG")
    assert len(bomb) < 60_000
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("a bomb was decoded"))
    assert reason(bomb) == f"image larger than {MAX_MEGAPIXELS} megapixels"


def test_a_line_that_resizing_would_make_huge_is_refused() -> None:
    assert reason(encode(Image.new("1", (1, 30_000)), "PNG")) == "image more than 200 times as long as wide"
    assert decode_image(encode(Image.new("1", (1, 200)), "PNG")).size == (1, 200)


def test_formats_that_run_programs_are_refused() -> None:
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n") == "image cannot be decoded: not an image"


def test_cmyk_jpeg() -> None:
    image = decode_image(encode(Image.new("CMYK", (20, 20), (0, 255, 0, 0)), "JPEG"))
    assert (image.mode, image.getpixel((0, 0))) == ("RGB", (255, 0, 255))


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (32_768, 127), (65_535, 255)])
def test_sixteen_bit_png_is_scaled_not_clipped(value: int, expected: int) -> None:
    assert decode_image(encode(Image.new("I;16", (4, 4), value), "PNG")).getpixel((0, 0)) == (expected,) * 3


@pytest.mark.parametrize(
    ("mode", "value", "expected"), [("F", 0.5, 127), ("F", 200.0, 200), ("F", 65_535.0, 255), ("I", 70_000, 255)]
)
def test_deep_tiff(mode: str, value: float, expected: int) -> None:
    assert decode_image(encode(Image.new(mode, (4, 4), value), "TIFF")).getpixel((0, 0)) == (expected,) * 3


def test_pixels_that_are_not_numbers() -> None:
    assert reason(encode(Image.new("F", (4, 4), float("nan")), "TIFF")) == "image cannot be decoded: damaged"


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    image = decode_image(encode(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (8, 8), (255, 0, 0))


def test_first_frame_of_an_animated_webp() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    data = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert decode_image(data).getpixel((0, 0)) == (255, 0, 0)


def test_first_picture_of_a_multi_picture_jpeg() -> None:
    pictures = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    data = encode(pictures[0], "MPO", save_all=True, append_images=pictures[1:])
    assert decode_image(data).getpixel((0, 0)) == (254, 0, 0)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "WEBP"])
def test_other_formats(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    assert decode_image(encode(noise(), kind, **options)).tobytes() == noise().tobytes()


def test_alpha_goes_over_white() -> None:
    assert decode_image(encode(Image.new("RGBA", (4, 4), (255, 0, 0, 128)), "PNG")).getpixel((0, 0)) == (255, 127, 127)
    assert decode_image(encode(Image.new("LA", (4, 4), (0, 0)), "PNG")).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_a_transparent_colour(kind: str) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([9, 9, 9, 200, 0, 0])
    image.putpixel((1, 0), 1)
    decoded = decode_image(encode(image, kind, transparency=0))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (200, 0, 0)]


def png_with(chunk: str, megabytes: int) -> bytes:
    """A PNG with so much text or profile in one chunk, which compresses to some kilobytes where it can."""
    from PIL.PngImagePlugin import PngInfo

    text = "x" * (megabytes << 20)
    if chunk == "iCCP":
        return encode(noise(), "PNG", icc_profile=text.encode())
    info = PngInfo()
    if chunk == "iTXt":
        info.add_itxt("workflow", text, zip=True)
    else:
        info.add_text("parameters", text, zip=chunk == "zTXt")
    return encode(noise(), "PNG", pnginfo=info)


@pytest.mark.parametrize("megabytes", [2, 8])
@pytest.mark.parametrize("chunk", ["tEXt", "zTXt", "iTXt", "iCCP"])
def test_a_png_with_megabytes_of_text_or_profile_is_sound(chunk: str, megabytes: int) -> None:
    assert decode_image(png_with(chunk, megabytes)).tobytes() == noise().tobytes()


@pytest.mark.parametrize("chunk", ["zTXt", "iTXt", "iCCP"])
def test_a_png_whose_text_unpacks_to_more_than_a_large_image_is_refused(chunk: str) -> None:
    data = png_with(chunk, 65)
    assert len(data) < 200_000
    assert reason(data) == "image cannot be decoded: damaged"


def heic(image: Image.Image, **options: object) -> bytes:
    pytest.importorskip("pillow_heif.HeifImagePlugin")
    return encode(image, "HEIF", quality=-1, **options)


def test_heic_is_read_where_pillow_heif_is_installed() -> None:
    data = heic(Image.new("RGB", (40, 20), (200, 30, 30)))
    assert (image_suffix(data), image_size(data)) == ("heic", (40, 20))
    pixel = decode_image(data).getpixel((20, 10))
    assert isinstance(pixel, tuple)
    assert max(abs(one - other) for one, other in zip(pixel, (200, 30, 30), strict=True)) < 4


def test_heic_with_an_orientation_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(heic(Image.new("RGB", (40, 20), "blue"), exif=exif.tobytes())).size == (20, 40)


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_heic_without_pillow_heif_names_what_to_install(brand: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capivara_cli.shards.images._formats", lambda: ("JPEG", "PNG"))
    data = b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0" + brand + bytes(64)
    assert reason(data) == "image is HEIC, which needs pillow-heif: pip install 'capivara[heic]'"


@pytest.mark.parametrize("suffix", ["jfif", "JFIF", "jpe", "small.jfif"])
def test_jpegs_have_other_suffixes_too(suffix: str) -> None:
    assert image_size(Sample("a", {"json": b"{}", suffix: encode(noise(), "JPEG")})) == (96, 64)


def oriented(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.new("RGB", (40, 20), "blue")
    image.paste("red", (0, 0, 20, 10))  # the top left quarter
    return encode(image, "JPEG", exif=exif, quality=95)


@pytest.mark.parametrize(
    ("orientation", "size", "red_at"),
    [
        (1, (40, 20), (2, 2)), (2, (40, 20), (37, 2)), (3, (40, 20), (37, 17)), (4, (40, 20), (2, 17)),
        (5, (20, 40), (2, 2)), (6, (20, 40), (17, 2)), (7, (20, 40), (17, 37)), (8, (20, 40), (2, 37)),
        (0, (40, 20), (2, 2)), (99, (40, 20), (2, 2)),
    ],
)  # fmt: skip
def test_exif_orientation(orientation: int, size: tuple[int, int], red_at: tuple[int, int]) -> None:
    data = oriented(orientation)
    image = decode_image(data)
    corners = [(x, y) for x in (2, size[0] - 3) for y in (2, size[1] - 3)]
    assert image.size == image_size(data) == size
    assert [corner for corner in corners if image.getpixel(corner)[0] > 200] == [red_at]


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0II*\0\xff\xff\xff\xffgarbage",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03\xff\xff\xff\xff\0\x06\0\0" * 5000,
        b"Exif\0\0",
        b"Exif\0\0" + bytes(i * i % 251 for i in range(2000)),
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04six\0\0\0\0\0",
    ],
)
def test_invalid_exif_is_ignored(exif: bytes) -> None:
    data = encode(Image.new("RGB", (40, 20), "red"), "JPEG", exif=exif)
    assert decode_image(data).size == (40, 20)


def test_several_threads_get_the_result_of_one() -> None:
    files = [oriented(1 + i % 8) for i in range(8)] + [encode(noise(), "PNG"), encode(noise(), "WEBP", lossless=True)]
    alone = [decode_image(data).tobytes() for data in files]
    with ThreadPoolExecutor(8) as pool:
        assert [image.tobytes() for image in pool.map(decode_image, files * 10)] == alone * 10


def test_nothing_is_printed_and_pillow_is_imported_on_use() -> None:
    program = (
        "import sys, io; import capivara_cli.shards.images as images; assert 'PIL' not in sys.modules\n"
        "from PIL import Image; out = io.BytesIO(); Image.new('1', (10000, 10000)).save(out, 'PNG')\n"
        "palette = Image.new('P', (2, 2)); png = io.BytesIO(); palette.save(png, 'PNG', transparency=bytes([0, 255]))\n"
        "images.decode_image(png.getvalue())\n"
        "try: images.decode_image(out.getvalue())\n"
        "except images.BadSample as error: print(error.reason)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "image larger than 64 megapixels\n"
    assert done.stderr == ""
