"""Bad and odd images as the bytes of a file, and what each must come to."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48


def picture(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Smooth colours that differ with the seed; the top left quarter is bright."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 128, (6, 8, 3), np.uint8)
    grown = Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.array(grown)
    pixels[: height // 2, : width // 2] += 100
    return Image.fromarray(pixels)


def saved(image: Image.Image, image_format: str, **options: object) -> bytes:
    """The image as a file of this format."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A good PNG."""
    return saved(picture(seed, width, height), "PNG")


def jpeg(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A good JPEG."""
    return saved(picture(seed, width, height), "JPEG", quality=90)


def truncated_jpeg() -> bytes:
    """Its second half is missing."""
    whole = jpeg(1, 320, 240)
    return whole[: len(whole) // 2]


def truncated_png() -> bytes:
    """Its second half is missing."""
    whole = png(1, 320, 240)
    return whole[: len(whole) // 2]


def empty() -> bytes:
    """No byte at all."""
    return b""


def not_an_image() -> bytes:
    """A web page."""
    return b"<html><script>alert(1)</script></html>" * 20


def bomb(width: int = 30_000, height: int = 30_000) -> bytes:
    """A PNG of a few hundred bytes whose header promises 900 million pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 10_000)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def one_pixel() -> bytes:
    """1x1."""
    return png(0, 1, 1)


def ribbon() -> bytes:
    """20000x10."""
    return saved(Image.new("RGB", (20_000, 10), (9, 9, 9)), "PNG")


def png_bytes() -> bytes:
    """A PNG, to be sent under a name that ends in .jpg."""
    return png(2)


def grey() -> bytes:
    """One channel."""
    return saved(picture(3).convert("L"), "PNG")


def cmyk() -> bytes:
    """Four channels of ink."""
    return saved(picture(4).convert("CMYK"), "JPEG", quality=95)


def sixteen_bit() -> bytes:
    """Grey with 16 bits a pixel, using the whole range from left to right."""
    ramp = np.tile(np.linspace(0, 65535, WIDTH).astype(np.uint16), (HEIGHT, 1))
    return saved(Image.fromarray(ramp), "PNG")


def animated_gif() -> bytes:
    """Two frames: red, then blue."""
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue")]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)


def rotated_by_exif() -> bytes:
    """Stored lying on its side: upright it is HEIGHT wide and WIDTH high."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(picture(5), "JPEG", quality=95, exif=exif)


def palette_with_alpha() -> bytes:
    """Colour 0 of the palette is transparent, colour 1 is white."""
    image = Image.new("P", (WIDTH, HEIGHT), 1)
    image.putpalette([200, 10, 10, 255, 255, 255] + [0] * 762)
    image.paste(0, (0, 0, WIDTH // 2, HEIGHT))
    return saved(image, "PNG", transparency=0)


def multi_picture() -> bytes:
    """Two JPEGs in one file, as telephones write them."""
    return saved(picture(6), "MPO", save_all=True, append_images=[picture(7)])


BAD: dict[str, Callable[[], bytes]] = {
    "truncated_jpeg": truncated_jpeg,
    "truncated_png": truncated_png,
    "empty": empty,
    "not_an_image": not_an_image,
    "bomb": bomb,
    "one_pixel": one_pixel,
    "ribbon": ribbon,
}
"""Each must be refused with a clear error."""

ODD: dict[str, Callable[[], bytes]] = {
    "png_bytes": png_bytes,
    "grey": grey,
    "cmyk": cmyk,
    "sixteen_bit": sixteen_bit,
    "animated_gif": animated_gif,
    "rotated_by_exif": rotated_by_exif,
    "palette_with_alpha": palette_with_alpha,
    "multi_picture": multi_picture,
}
"""Each must be taken; a wrong suffix changes nothing."""


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
