"""What headers say: orientation and upright size against the pixels, bits and pages."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from curation.kernel import images
from curation.kernel.errors import ImageUnreadable
from tests import bad_images

ORIENTATION = 0x0112
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
)


def _quarters() -> np.ndarray:
    """48 by 64, a colour in each quarter: no two ways of turning it look alike."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32] = (255, 0, 0)
    pixels[:24, 32:] = (0, 255, 0)
    pixels[24:, :32] = (0, 0, 255)
    pixels[24:, 32:] = (255, 255, 0)
    return pixels


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels, 1),
}
"""What each value of the tag asks for, by EXIF 2.3, table 5: where row 0 and column 0 belong."""


def _saved(image_format: str, orientation: int) -> bytes:
    picture = Image.fromarray(_quarters())
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    if image_format == "MPO":
        return bad_images.saved(picture, "MPO", exif=exif, save_all=True, append_images=[picture])
    if image_format == "TIFF, packed":
        return bad_images.saved(
            picture, "TIFF", tiffinfo={ORIENTATION: orientation}, compression="tiff_lzw"
        )
    if image_format == "TIFF":
        return bad_images.saved(picture, "TIFF", tiffinfo={ORIENTATION: orientation})
    if image_format == "TIFF, XMP":
        return bad_images.saved(picture, "TIFF", tiffinfo={700: XMP % orientation})
    if image_format == "WEBP":
        return bad_images.saved(picture, "WEBP", exif=exif, lossless=True)
    return bad_images.saved(picture, image_format, exif=exif)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    "image_format", ["JPEG", "PNG", "WEBP", "MPO", "TIFF", "TIFF, packed", "TIFF, XMP"]
)
def test_a_tag_turns_the_picture_once_and_its_size_agrees(
    image_format: str, orientation: int
) -> None:
    data = _saved(image_format, orientation)
    upright = UPRIGHT[orientation](_quarters())

    pixels = images.decode(data)

    assert images.orientation_of(data) == orientation
    assert images.size_of(data) == (upright.shape[1], upright.shape[0])
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).mean() < 8


@pytest.mark.parametrize("said", [0, 9, 65535])
def test_a_senseless_orientation_is_none(said: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = said
    data = bad_images.saved(Image.fromarray(_quarters()), "JPEG", exif=exif)

    assert images.orientation_of(data) == 1
    assert images.size_of(data) == (64, 48)


def test_an_orientation_is_read_without_a_pixel() -> None:
    assert images.orientation_of(bad_images.bomb(8000, 4000)) == 1
    assert images.orientation_of(bad_images.truncated_png()) == 1
    with pytest.raises(ImageUnreadable):
        images.orientation_of(b"no picture")


def _grey(top: float, dtype: type, low: float = 0) -> Image.Image:
    ramp: np.ndarray = np.linspace(low, top, 64).astype(dtype)
    return Image.fromarray(np.tile(ramp, (48, 1)))


def _pages(image_format: str, **options: object) -> bytes:
    first, *others = (Image.new("RGB", (64, 48), (40 * n, 9, 9)) for n in range(1, 4))
    buffer = io.BytesIO()
    first.save(buffer, image_format, save_all=True, append_images=others, **options)
    return buffer.getvalue()


def _deep_colours() -> bytes:
    """A TIFF of 16 bits in each of three channels, which Pillow reads and does not write."""
    import struct

    width, height = 16, 16
    pixels = np.full((height, width, 3), 0x8040, "<u2").tobytes()
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 134), (259, 3, 1, 1)]
    entries += [(262, 3, 1, 2), (273, 4, 1, 140), (277, 3, 1, 3), (278, 3, 1, height)]
    entries += [(279, 4, 1, len(pixels)), (284, 3, 1, 1)]
    table = struct.pack("<H", len(entries))
    table += b"".join(struct.pack("<HHII", *entry) for entry in entries) + b"\0\0\0\0"
    assert 8 + len(table) == 134
    return b"II*\0" + struct.pack("<I", 8) + table + struct.pack("<HHH", 16, 16, 16) + pixels


SCALED = "16 bits were scaled to 8 bits"
FIRST = "of several pages or frames only the first was taken"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (bad_images.png(), None),
        (bad_images.jpeg(), None),
        (bad_images.palette_with_alpha(), None),
        (bad_images.multi_picture(), None),
        (bad_images.animated_gif(), FIRST),
        (_pages("TIFF"), FIRST),
        (_pages("WEBP", lossless=True), FIRST),
        (_pages("PNG"), FIRST),
        (bad_images.saved(_grey(65535, np.uint16), "PNG"), SCALED),
        (bad_images.saved(_grey(65535, np.uint16), "TIFF"), SCALED),
        (bad_images.saved(_grey(4095, np.uint16), "PNG"), f"{SCALED}, and nearly all is black"),
        (bad_images.saved(_grey(4095, np.uint16), "TIFF"), f"{SCALED}, and nearly all is black"),
        (bad_images.saved(_grey(1, np.float32), "TIFF"), "floating point numbers were scaled"),
        (_deep_colours(), SCALED),
    ],
)
def test_what_is_not_in_the_image_is_told(data: bytes, told: str | None) -> None:
    images.decode(data)

    found = images.depth_note(data)

    assert found is None if told is None else (found or "").startswith(told)


@pytest.mark.parametrize(
    ("picture", "values"),
    [
        (_grey(280, np.float32, -20), "-20..280"),
        (_grey(45, np.float32, -20), "-20..45"),
        (_grey(280, np.float32), "0..280"),
        (_grey(310, np.float32, 250), "250..310"),
        (_grey(1e6, np.float32), "0..1e\\+06"),
        (_grey(280, np.int32, -20), "-20..280"),
    ],
)
def test_numbers_that_are_no_grey_levels_are_refused_and_not_black(
    picture: Image.Image, values: str
) -> None:
    data = bad_images.saved(picture, "TIFF")

    with pytest.raises(ImageUnreadable, match=f"{values} are no grey levels.*convert it to 8 bits"):
        images.decode(data, name="thermal.tif")
    assert images.size_of(data) == (64, 48)


def test_floats_a_little_below_black_are_black() -> None:
    data = bad_images.saved(_grey(1, np.float32, -0.0005), "TIFF")

    assert images.decode(data)[0, 0].tolist() == [0, 0, 0]
    assert images.decode(data).max() == 255
