"""Bytes to pixels, carefully: nothing that a stranger sends can exhaust memory or slip through.

The header is read first and its dimensions are judged before any pixel is decoded. What is decoded
is converted strip by strip, so that a picture takes little more memory than Pillow's copy of it and
the result. The content decides the format; a name never does. ``image_headers.py`` reads what needs
no pixel.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from curation.kernel.errors import ImageUnreadable
from curation.kernel.image_headers import (
    FORMATS,
    SUFFIXES,
    WIDE_MODES,
    depth_note,
    open_image,
    orientation_of,
    size_of,
    suffix_of,
)
from curation.kernel.types import ImageArray

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "ImageLimits",
    "content_hash",
    "decode",
    "depth_note",
    "encode_jpeg",
    "encode_png",
    "hamming",
    "load",
    "orientation_of",
    "perceptual_hash",
    "size_of",
    "suffix_of",
]

STRIP_PX = 2**18
"""Pixels that are converted at once: a few MB, whatever the size of the picture."""
_HASH_SIDE = 8
_WHITE = 65535.0
_USED = 0.25
"""Share of 16 bits that floats must reach to be taken for such: 280 may be a temperature."""
_NOISE = 1e-3
"""Share of white that floats may lie below black by, as sharpening leaves them."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is refused before it is decoded.

    Attributes:
        max_pixels: width times height at most.
        min_side_px: shorter side at least.
        max_aspect: longer side over shorter side at most.
    """

    max_pixels: int = 50_000_000
    min_side_px: int = 8
    max_aspect: float = 50.0


def decode(data: bytes, limits: ImageLimits = ImageLimits(), name: str = "image") -> ImageArray:
    """An RGB image from the bytes of a file.

    EXIF orientation is applied. Grey, CMYK and palette images are converted, 16-bit ones are
    scaled to 8 bits, transparency is laid over black, and of an animation the first frame counts.

    Args:
        data: the whole file.
        limits: what to refuse.
        name: what to call it in messages; only the last part of a path is shown.

    Returns:
        [H, W, 3] uint8, upright.

    Raises:
        ImageUnreadable: empty, truncated, of no known format, or outside the limits.
    """
    name = Path(name).name[-80:] or "image"
    with open_image(data, name) as picture:
        _check_size(picture.size, limits, name)
        try:
            picture.seek(0)
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            pixels = _to_rgb(picture)
        except _NoGreyLevels as error:
            raise ImageUnreadable(f"{name}: {error}") from error
        except Exception as error:  # hostile bytes make Pillow's readers raise almost anything
            raise ImageUnreadable(
                f"{name}: damaged or cut short ({error}); send the whole file again"
            ) from error
    return pixels


def load(path: Path, limits: ImageLimits = ImageLimits()) -> ImageArray:
    """An RGB image [H, W, 3] uint8 from a file; see :func:`decode`."""
    return decode(path.read_bytes(), limits, path.name)


def content_hash(data: bytes) -> str:
    """SHA-256 of the bytes of a file, 64 hex digits: the image's id."""
    return hashlib.sha256(data).hexdigest()


def perceptual_hash(image: ImageArray) -> int:
    """64 bits that change little when the picture does: signs of horizontal differences.

    Source:
        The difference hash ("dHash"): 9 by 8 grey thumbnail, each pixel against its neighbour.
    """
    height, width = image.shape[:2]
    grey = Image.new("L", (width, height))
    step = max(1, STRIP_PX // width)
    for top in range(0, height, step):  # as in _to_rgb
        grey.paste(Image.fromarray(image[top : top + step]).convert("L"), (0, top))
    small = np.asarray(grey.resize((_HASH_SIDE + 1, _HASH_SIDE), Image.Resampling.BOX), np.int16)
    bits = (small[:, 1:] > small[:, :-1]).reshape(-1)  # [64]
    return int("".join("1" if bit else "0" for bit in bits), 2)


def hamming(first: int, second: int) -> int:
    """Number of bits in which two hashes differ, in 0..64."""
    return (first ^ second).bit_count()


def encode_png(image: ImageArray, texts: Mapping[str, str] | None = None) -> bytes:
    """The image [H, W, 3] uint8 as a PNG file, without loss.

    Args:
        image: pixels.
        texts: ASCII, by keyword; each becomes a text chunk of the file.
    """
    if texts is None:
        return _encode(image, "PNG")
    info = PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text)
    return _encode(image, "PNG", pnginfo=info)


def png_texts(data: bytes) -> dict[str, str]:
    """The text chunks of a PNG file by keyword; none of a file of another kind.

    Raises:
        ImageUnreadable: it is no picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()  # chunks may follow the pixels
            found = getattr(picture, "text", {})
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageUnreadable(f"no picture: {error}") from error
    return {str(key): str(value) for key, value in found.items()}


def encode_jpeg(image: ImageArray, quality: int = 90) -> bytes:
    """The image [H, W, 3] uint8 as a JPEG file of ``quality`` in 1..95."""
    return _encode(image, "JPEG", quality=quality)


def _encode(image: ImageArray, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, image_format, **options)
    return buffer.getvalue()


def _check_size(size_wh: tuple[int, int], limits: ImageLimits, name: str) -> None:
    width, height = size_wh
    shorter, longer = min(size_wh), max(size_wh)
    if width * height > limits.max_pixels:
        raise ImageUnreadable(
            f"{name}: {width}x{height} is over {limits.max_pixels} pixels; scale it down"
        )
    if shorter < limits.min_side_px:
        raise ImageUnreadable(
            f"{name}: {width}x{height} is too small; both sides must have "
            f"{limits.min_side_px} pixels"
        )
    if longer > limits.max_aspect * shorter:
        raise ImageUnreadable(
            f"{name}: {width}x{height} is too long and thin; at most {limits.max_aspect:g} to 1"
        )


def _to_rgb(picture: Image.Image) -> ImageArray:
    """The pixels, strip by strip: a conversion of the whole would hold several copies of it."""
    scale = _scale_of(picture) if picture.mode in WIDE_MODES else None
    rgb = np.empty((picture.height, picture.width, 3), np.uint8)
    for top, strip in _strips(picture):
        rows = rgb[top : top + strip.height]
        if scale is None:
            rows[:] = np.asarray(_opaque(strip).convert("RGB"))
        else:
            low, high = scale
            grey = ((np.asarray(strip, np.float64) - low) / (high - low) * 255).round()
            rows[:] = grey.clip(0, 255).astype(np.uint8)[:, :, None]
    return rgb


def _strips(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """First rows and strips, of about ``STRIP_PX`` pixels, from top to bottom."""
    step = max(1, STRIP_PX // picture.width)
    for top in range(0, picture.height, step):
        bottom = min(top + step, picture.height)
        yield top, picture.crop((0, top, picture.width, bottom))


def _opaque(picture: Image.Image) -> Image.Image:
    """The same over black where it is transparent."""
    if picture.mode not in ("RGBA", "LA", "PA") and "transparency" not in picture.info:
        return picture
    colours = picture.convert("RGBA")
    ground = Image.new("RGBA", colours.size, (0, 0, 0, 255))
    return Image.alpha_composite(ground, colours)


def _scale_of(picture: Image.Image) -> tuple[float, float]:
    """What is black and what is white in a picture of more than 8 bits.

    The range of 16 bits, or the picture's own if that is wider. Floats may also count to 1 or to
    255.

    Raises:
        _NoGreyLevels: the numbers are something else, such as degrees Celsius, which would become
            black.
        ValueError: a pixel is not finite.
    """
    low, most = np.inf, -np.inf
    for _, strip in _strips(picture):
        values = np.asarray(strip)
        if not np.isfinite(values).all():
            raise ValueError("a pixel is not finite")
        low, most = min(low, float(values.min())), max(most, float(values.max()))
    if picture.mode == "F":
        top = next((one for one in (1.0, 255.0, _WHITE) if most <= one), None)
        dim = top == _WHITE and most < _WHITE * _USED
        if top is None or dim or low < -_NOISE * top:
            raise _NoGreyLevels(low, most)
        return 0.0, top
    if low < 0 and most <= _WHITE:
        raise _NoGreyLevels(low, most)
    return min(low, 0.0), max(most, _WHITE)


class _NoGreyLevels(Exception):
    """The numbers of a picture are none that a brightness has."""

    def __str__(self) -> str:
        low, most = self.args
        return (
            f"its values {low:.6g}..{most:.6g} are no grey levels (0..1, 0..255 or 0..65535): "
            "convert it to 8 bits first"
        )
