"""Bytes to pixels, carefully: nothing that a stranger sends can exhaust memory or slip through.

The header is read first and its dimensions are judged before any pixel is decoded. The content
decides the format; a name never does.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from curation.errors import ImageUnreadable
from curation.types import ImageArray

SUFFIXES = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "GIF": ".gif",
}
FORMATS = tuple(SUFFIXES)
_MULTI_PICTURE = "MPO"
"""What Pillow calls a JPEG with several pictures in it, as telephones write them."""
_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""
_PNG_ORIENTATION = (b"eXIf", b"tiff:Orientation", b"Raw profile type exif")
"""One of them is in a PNG that says an orientation; asked for it, Pillow decodes all pixels."""
_WIDE_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_HASH_SIDE = 8
_ORIENTATION = 0x0112


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
    with _open(data, name) as picture:
        _check_size(picture.size, limits, name)
        try:
            picture.seek(0)
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            pixels = _to_rgb(upright)
        except Exception as error:  # hostile bytes make Pillow's readers raise almost anything
            raise ImageUnreadable(
                f"{name}: damaged or cut short ({error}); send the whole file again"
            ) from error
    return pixels


def load(path: Path, limits: ImageLimits = ImageLimits()) -> ImageArray:
    """An RGB image [H, W, 3] uint8 from a file; see :func:`decode`."""
    return decode(path.read_bytes(), limits, path.name)


def suffix_of(data: bytes, name: str = "image") -> str:
    """The suffix that the content deserves, such as ``.jpg``.

    Raises:
        ImageUnreadable: of no known format.
    """
    with _open(data, Path(name).name) as picture:
        found = str(picture.format)
    return SUFFIXES["JPEG" if found == _MULTI_PICTURE else found]


def size_of(data: bytes, name: str = "image") -> tuple[int, int]:
    """Width and height in px of the upright image, from the header alone.

    Raises:
        ImageUnreadable: of no known format.
    """
    with _open(data, Path(name).name) as picture:
        width, height = picture.size
        if picture.format == "PNG" and not any(mark in data for mark in _PNG_ORIENTATION):
            return width, height
        try:
            sideways = picture.getexif().get(_ORIENTATION) in _SIDEWAYS
        except Exception as error:  # as in decode
            raise ImageUnreadable(f"{name}: damaged EXIF data ({error})") from error
    return (height, width) if sideways else (width, height)


def content_hash(data: bytes) -> str:
    """SHA-256 of the bytes of a file, 64 hex digits: the image's id."""
    return hashlib.sha256(data).hexdigest()


def perceptual_hash(image: ImageArray) -> int:
    """64 bits that change little when the picture does: signs of horizontal differences.

    Source:
        The difference hash ("dHash"): 9 by 8 grey thumbnail, each pixel against its neighbour.
    """
    thumbnail = Image.fromarray(image).convert("L")
    small = np.asarray(
        thumbnail.resize((_HASH_SIDE + 1, _HASH_SIDE), Image.Resampling.BOX), np.int16
    )
    bits = (small[:, 1:] > small[:, :-1]).reshape(-1)  # [64]
    return int("".join("1" if bit else "0" for bit in bits), 2)


def hamming(first: int, second: int) -> int:
    """Number of bits in which two hashes differ, in 0..64."""
    return (first ^ second).bit_count()


def encode_png(image: ImageArray) -> bytes:
    """The image [H, W, 3] uint8 as a PNG file, without loss."""
    return _encode(image, "PNG")


def encode_jpeg(image: ImageArray, quality: int = 90) -> bytes:
    """The image [H, W, 3] uint8 as a JPEG file of ``quality`` in 1..95."""
    return _encode(image, "JPEG", quality=quality)


def _encode(image: ImageArray, image_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, image_format, **options)
    return buffer.getvalue()


def _open(data: bytes, name: str) -> Image.Image:
    if not data:
        raise ImageUnreadable(f"{name}: the file is empty; send it again")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageUnreadable(f"{name}: too many pixels ({error}); scale it down") from error
    except Exception as error:  # as in decode
        raise ImageUnreadable(
            f"{name}: not an image that can be read; send one of {', '.join(FORMATS)}"
        ) from error


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
    if picture.mode in _WIDE_MODES:
        return _wide_to_rgb(np.asarray(picture, np.float64), floating=picture.mode == "F")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        opaque = picture.convert("RGBA")
        ground = Image.new("RGBA", opaque.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(ground, opaque)
    return np.array(picture.convert("RGB"), np.uint8)


def _wide_to_rgb(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], floating: bool
) -> ImageArray:
    """More than 8 bits: scaled by the range of 16 bits, or by the image's own if that is wider.

    Floats may also count to 1 or to 255.
    """
    if not np.isfinite(values).all():
        raise ValueError("a pixel is not finite")
    low = min(0.0, float(values.min()))
    most = float(values.max())
    ranges = (1.0, 255.0, 65535.0) if floating else (65535.0,)
    top = next((one for one in ranges if most <= one), most)
    grey = ((values - low) / (top - low) * 255).round().astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
