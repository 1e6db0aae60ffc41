"""What the header of a picture says, before any pixel of it is decoded.

The content decides the format; a name never does. Whoever wants pixels reads ``images.py``.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, TiffImagePlugin

from curation.kernel.errors import ImageUnreadable

SUFFIXES = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "GIF": ".gif",
}
FORMATS = tuple(SUFFIXES)
WIDE_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
"""Of more than 8 bits."""
_MULTI_PICTURE = "MPO"
"""What Pillow calls a JPEG with several pictures in it, as telephones write them."""
_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""
_PNG_ORIENTATION = (b"eXIf", b"tiff:Orientation", b"Raw profile type exif")
"""One of them is in a PNG that says an orientation; asked for it, Pillow decodes all pixels."""
_PNG_DEPTH = 24
"""Place of the bits a channel in a PNG: its first chunk has a fixed form."""
_WIDTH, _LENGTH, _BITS, _ORIENTATION = 256, 257, 258, 274
"""Tags of TIFF, some of which EXIF shares."""
_DARK = 4096
"""A picture of 16 bits with nothing brighter was most likely made of 12 bits or fewer."""


def open_image(data: bytes, name: str) -> Image.Image:
    """The picture, of which only the header was read.

    Raises:
        ImageUnreadable: empty, or of no known format.
    """
    if not data:
        raise ImageUnreadable(f"{name}: the file is empty; send it again")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageUnreadable(f"{name}: too many pixels ({error}); scale it down") from error
    except Exception as error:  # hostile bytes make Pillow's readers raise almost anything
        raise ImageUnreadable(
            f"{name}: not an image that can be read; send one of {', '.join(FORMATS)}"
        ) from error


def suffix_of(data: bytes, name: str = "image") -> str:
    """The suffix that the content deserves, such as ``.jpg``.

    Raises:
        ImageUnreadable: of no known format.
    """
    with open_image(data, Path(name).name) as picture:
        found = str(picture.format)
    return SUFFIXES["JPEG" if found == _MULTI_PICTURE else found]


def size_of(data: bytes, name: str = "image") -> tuple[int, int]:
    """Width and height in px of the upright image, from the header alone.

    Raises:
        ImageUnreadable: of no known format.
    """
    with open_image(data, Path(name).name) as picture:
        width, height = picture.size
        sideways = _orientation(picture, data, name) in _SIDEWAYS
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            # Pillow says the upright size where a TIFF's own tag turns it, but not where XMP does.
            width, height = picture.tag_v2[_WIDTH], picture.tag_v2[_LENGTH]
    return (height, width) if sideways else (width, height)


def orientation_of(data: bytes, name: str = "image") -> int:
    """How the pixels of a file lie, from the header alone.

    Returns:
        EXIF's orientation in 1..8; 1 for upright pixels, and where none or a senseless one is said.

    Raises:
        ImageUnreadable: of no known format.
    """
    with open_image(data, Path(name).name) as picture:
        return _orientation(picture, data, name)


def depth_note(data: bytes, name: str = "image") -> str | None:
    """What of a file is not in its image [H, W, 3] uint8: bits, pages; None if all is.

    Pictures of 8 bits and one page are judged by their header. Of one with more bits the pixels are
    looked at: they are expected to have been decoded before, within limits.

    Returns:
        A phrase that is the same for all pictures of a kind, so that they can be counted.

    Raises:
        ImageUnreadable: of no known format, or damaged.
    """
    with open_image(data, Path(name).name) as picture:
        try:
            told = [_pages(picture), _depth(picture, data)]
        except Exception as error:  # as in open_image
            raise ImageUnreadable(f"{name}: damaged or cut short ({error})") from error
    return "; ".join(filter(None, told)) or None


def _orientation(picture: Image.Image, data: bytes, name: str) -> int:
    if picture.format == "PNG" and not any(mark in data for mark in _PNG_ORIENTATION):
        return 1
    try:
        said = picture.getexif().get(_ORIENTATION)
    except Exception as error:  # as in open_image
        raise ImageUnreadable(f"{name}: damaged EXIF data ({error})") from error
    return said if isinstance(said, int) and 1 <= said <= 8 else 1


def _pages(picture: Image.Image) -> str:
    # The further pictures of a telephone's JPEG are other views of the same.
    if picture.format == _MULTI_PICTURE or not getattr(picture, "is_animated", False):
        return ""
    return "of several pages or frames only the first was taken"


def _depth(picture: Image.Image, data: bytes) -> str:
    if picture.mode == "F":
        return "floating point numbers were scaled to 8 bits"
    if picture.mode not in WIDE_MODES:
        return "16 bits were scaled to 8 bits" if _bits(picture, data) == 16 else ""
    _, brightest = picture.getextrema()
    if isinstance(brightest, float | int) and brightest < _DARK:
        return (
            "16 bits were scaled to 8 bits, and nearly all is black: they hold 12 bits or fewer, "
            "so stretch them to 0..65535 or make them 8 bits first"
        )
    return "16 bits were scaled to 8 bits"


def _bits(picture: Image.Image, data: bytes) -> int:
    """Bits a channel of a picture that Pillow gives 8."""
    if picture.format == "PNG":
        return data[_PNG_DEPTH]
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return max(int(bits) for bits in picture.tag_v2.get(_BITS, (8,)))
    return 8
