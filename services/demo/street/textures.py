"""Photographic textures from scikit-image's wheel, prepared once for fast perspective lookup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

from curation.kernel.types import FloatArray, ImageArray

_TEXTURES = ("brick", "grass", "gravel")
_PHOTOS = ("coffee", "chelsea", "rocket")
_LEVELS = 6
_PHOTO_SIDE_PX = 160


@dataclass(frozen=True, slots=True, eq=False)
class Textures:
    """Everything that is read or computed once.

    Attributes:
        tones: per material its mip levels, each [n, n] float32 with mean 0 and deviation 1 at
            full size; each level halves the side, so that far ground does not flicker.
        clouds: [256, 512] float32 in 0..1, tiles sideways.
        photos: per name an RGB photograph [h, w, 3] uint8 for billboards.
    """

    tones: Mapping[str, tuple[FloatArray, ...]]
    clouds: FloatArray
    photos: Mapping[str, ImageArray]

    def ground(self, name: str, u: FloatArray, v: FloatArray, footprint: FloatArray) -> FloatArray:
        """Tone of a material on a plane seen in perspective.

        Args:
            name: of the material.
            u: [h, w] texels of the full-size level across.
            v: [h] texels along, one a row.
            footprint: [h] texels that a pixel covers, rising or falling from row to row.

        Returns:
            [h, w] float32 tone, mean 0.
        """
        tone = np.empty(u.shape, np.float32)
        levels = np.clip(np.log2(np.maximum(footprint, 1)), 0, _LEVELS - 1).astype(np.int64)
        for level in np.unique(levels):
            rows = levels == level
            mip = self.tones[name][level]
            side = len(mip)
            across = (u[rows] / 2**level).astype(np.int64) % side  # [r, w]
            along = (v[rows] / 2**level).astype(np.int64) % side  # [r]
            tone[rows] = mip[along[:, None], across]
        return tone


def _read(name: str) -> Image.Image:
    folder = Path(skimage.__file__).parent / "data"
    for suffix in (".png", ".jpg"):
        path = folder / f"{name}{suffix}"
        if path.exists():
            with Image.open(path) as opened:
                opened.load()
                return opened
    raise FileNotFoundError(f"scikit-image's wheel carries no {name!r} in {folder}")


def _mips(name: str) -> tuple[FloatArray, ...]:
    grey = np.asarray(_read(name).convert("L"), np.float32)
    grey = (grey - grey.mean()) / grey.std()
    levels = [grey]
    for _ in range(_LEVELS - 1):
        last = levels[-1]
        levels.append(last.reshape(len(last) // 2, 2, -1, 2).mean(axis=(1, 3)))
    return tuple(levels)


def _clouds() -> FloatArray:
    """Fractal noise by summing random grids at doubling frequencies, the same in every process."""
    rng = np.random.default_rng(20)
    total = np.zeros((256, 512), np.float32)
    for octave in range(2, 7):
        grid = rng.random((2**octave, 2**octave), dtype=np.float32)
        grid = np.concatenate([grid, grid[:, :1]], axis=1)  # tiles sideways
        smooth = Image.fromarray(grid).resize((512, 256), Image.Resampling.BICUBIC)
        total += np.asarray(smooth, np.float32) * np.float32(0.6**octave)
    low, high = np.quantile(total, (0.05, 0.97))
    clouds: FloatArray = np.clip((total - low) / (high - low), 0, 1).astype(np.float32)
    return clouds


def _photo(name: str) -> ImageArray:
    image = _read(name).convert("RGB")
    image.thumbnail((_PHOTO_SIDE_PX, _PHOTO_SIDE_PX))
    return np.asarray(image, np.uint8)


@lru_cache(maxsize=1)
def textures() -> Textures:
    """The textures, read on the first call of a process (about 0.1 s) and kept."""
    return Textures(
        tones={name: _mips(name) for name in _TEXTURES},
        clouds=_clouds(),
        photos={name: _photo(name) for name in _PHOTOS},
    )
