"""Small files of large pictures: what decoding one takes, and that strips change no pixel."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from benchmarks.common.waiting import PATIENCE
from curation.kernel import images
from curation.kernel.images import ImageLimits
from tests import bad_images

WIDE, HIGH = 3000, 4000
"""12 million pixels; four times as many are allowed."""
BYTES_A_PIXEL = 11
"""Pillow's picture has up to 4 and the result 3; twice Pillow's where it turns or lays over."""
SPARE_BYTES = 24 * 2**20
"""The file, the decoder's own, a strip, and what the allocator keeps."""

MEASURE = """
import sys
from pathlib import Path

from curation.kernel import images
from tests import bad_images

def peak_bytes():
    # not getrusage: it begins with what the process had that started this one
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024

data = sys.stdin.buffer.read()
images.perceptual_hash(images.decode(bad_images.ODD[sys.argv[1]]()))  # what is loaded on first use
before = peak_bytes()
images.perceptual_hash(images.decode(data))
print(peak_bytes() - before)
"""


def _flat(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (WIDE, HIGH), colour)


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return bad_images.saved(_flat("RGB", (9, 9, 9)), "PNG", exif=exif)


def _sixteen_bits() -> bytes:
    return bad_images.saved(Image.fromarray(np.full((HIGH, WIDE), 9, np.uint16)), "PNG")


def _floats() -> bytes:
    values = np.full((HIGH, WIDE), 0.5, np.float32)
    return bad_images.saved(Image.fromarray(values), "TIFF", compression="tiff_deflate")


LARGE: dict[str, Callable[[], bytes]] = {
    "sixteen_bits": _sixteen_bits,
    "floats": _floats,
    "transparent": lambda: bad_images.saved(_flat("RGBA", (9, 9, 9, 9)), "PNG"),
    "palette": lambda: bad_images.saved(_flat("P", 1), "PNG", transparency=0),
    "colours": lambda: bad_images.saved(_flat("RGB", (9, 9, 9)), "PNG"),
    "turned": _turned,
}


@pytest.mark.parametrize("name", LARGE)
def test_decoding_takes_little_more_than_the_picture_and_the_result(name: str) -> None:
    data = LARGE[name]()
    assert len(data) < 2**18

    done = subprocess.run(
        [sys.executable, "-c", MEASURE, "sixteen_bit"],
        input=data,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=120 * PATIENCE,
        check=False,
    )

    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) < BYTES_A_PIXEL * WIDE * HIGH + SPARE_BYTES


def _noise(shape: tuple[int, ...], dtype: type, top: float) -> np.ndarray:
    return (np.random.default_rng(0).random(shape) * top).astype(dtype)


COLOURS = Image.fromarray(_noise((700, 90, 4), np.uint8, 256))
NOISY: dict[str, Callable[[], bytes]] = {
    "I;16": lambda: bad_images.saved(Image.fromarray(_noise((700, 90), np.uint16, 65536)), "PNG"),
    "I": lambda: bad_images.saved(Image.fromarray(_noise((700, 90), np.int32, 90_000)), "TIFF"),
    "F": lambda: bad_images.saved(Image.fromarray(_noise((700, 90), np.float32, 255)), "TIFF"),
    "negative": lambda: bad_images.saved(
        Image.fromarray(_noise((700, 90), np.int32, 70_000) - 900), "TIFF"
    ),
    "RGBA": lambda: bad_images.saved(COLOURS, "PNG"),
    "LA": lambda: bad_images.saved(COLOURS.convert("LA"), "PNG"),
    "P": lambda: bad_images.saved(COLOURS.convert("RGB").quantize(9), "PNG", transparency=3),
    "CMYK": lambda: bad_images.saved(COLOURS.convert("RGB").convert("CMYK"), "TIFF"),
    "1": lambda: bad_images.saved(COLOURS.convert("1"), "PNG"),
}


def _at_once(data: bytes) -> np.ndarray:
    """The whole picture in one piece, as a formula would have it."""
    import io

    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if picture.mode in ("I;16", "I", "F"):
        values = np.asarray(picture, np.float64)
        low, most = min(0.0, values.min()), values.max()
        ranges = (1.0, 255.0, 65535.0) if picture.mode == "F" else (65535.0,)
        top = next((one for one in ranges if most <= one), most)
        grey = ((values - low) / (top - low) * 255).round().astype(np.uint8)
        return np.stack([grey] * 3, axis=-1)
    opaque = picture.convert("RGBA")
    ground = Image.new("RGBA", opaque.size, (0, 0, 0, 255))
    return np.asarray(Image.alpha_composite(ground, opaque).convert("RGB"))


@pytest.mark.parametrize("name", NOISY)
@pytest.mark.parametrize("strip_px", [1, 1000, 2**20])
def test_strips_change_no_pixel(name: str, strip_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "STRIP_PX", strip_px)
    data = NOISY[name]()

    pixels = images.decode(data)

    np.testing.assert_array_equal(pixels, _at_once(data))
    whole = Image.fromarray(pixels).convert("L").resize((9, 8), Image.Resampling.BOX)
    bits = np.diff(np.asarray(whole, int), axis=1).reshape(-1) > 0
    assert images.perceptual_hash(pixels) == int("".join("01"[int(bit)] for bit in bits), 2)


def test_a_float_that_is_none_is_found_in_any_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "STRIP_PX", 1000)
    values = _noise((700, 90), np.float32, 255)
    values[-1, -1] = np.nan

    with pytest.raises(images.ImageUnreadable, match="not finite"):
        images.decode(bad_images.saved(Image.fromarray(values), "TIFF"), ImageLimits())
