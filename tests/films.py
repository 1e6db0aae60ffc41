"""Small videos that tests make themselves: drawn, coded by FFmpeg, turned and damaged by hand."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from curation.kernel.types import ImageArray

av = pytest.importorskip("av", reason="VIDEOS ARE NOT TESTED: pip install 'e2x[video]'")

SIZE_HW = (96, 160)
Scene = Callable[[int], ImageArray]


def drive(number: int) -> ImageArray:
    """A picture that differs much from the one before; its corner at the top left is red."""
    noise = np.random.default_rng(number).integers(0, 256, (6, 10, 3), np.uint8)
    picture: ImageArray = np.kron(noise, np.ones((16, 16, 1), np.uint8))
    picture[:32, :32] = (250, 10, 10)
    return picture


def standing(number: int) -> ImageArray:
    """The same street each time, with the noise of a sensor."""
    street = drive(0).astype(np.int16)
    noise = np.random.default_rng(number).normal(0, 8, street.shape)
    return np.clip(street + noise, 0, 255).astype(np.uint8)


def write(
    path: Path,
    scene: Scene = drive,
    count: int = 40,
    times_ms: Sequence[int] | None = None,
    codec: str = "mpeg4",
) -> Path:
    """A video of so many pictures, 10 a second, a key frame each second.

    Args:
        path: its suffix names the container.
        scene: draws picture number 0, 1, ….
        count: how many.
        times_ms: when each is shown; None: every 100 ms.
        codec: FFmpeg's name of one.
    """
    times = list(times_ms or range(0, count * 100, 100))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = SIZE_HW
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.gop_size = 10
        for number, time_ms in enumerate(times):
            picture = av.VideoFrame.from_ndarray(scene(number), format="rgb24")
            picture.pts, picture.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def turn(path: Path) -> Path:
    """Have an MP4 say that it is to be shown turned by 90 degrees, clockwise.

    ISO/IEC 14496-12, 8.3.2: the matrix [a b u; c d v; x y w] maps (p, q) to (ap + cq + x,
    bp + dq + y); with a = d = 0, b = 1, c = -1 the corner at the top left goes to the top right.
    """
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd") + 4
    matrix = header + 4 + (32 if data[header] else 20) + 16
    turned = (0, 1 << 16, 0, -(1 << 16), 0, 0, SIZE_HW[0] << 16, 0, 1 << 30)
    data[matrix : matrix + 36] = struct.pack(">9i", *turned)
    path.write_bytes(data)
    return path


def damage(path: Path, share: float, count: int = 600) -> Path:
    """Put noise over ``count`` bytes that begin at a share of the file."""
    data = bytearray(path.read_bytes())
    start = int(len(data) * share)
    noise = np.random.default_rng(0).integers(0, 256, count, np.uint8).tobytes()
    data[start : start + count] = noise
    path.write_bytes(data)
    return path


def cut(path: Path, share: float) -> Path:
    """Leave only the first part of the file, as a recorder does whose power fails."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path
