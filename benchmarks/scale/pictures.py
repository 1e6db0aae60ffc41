"""Pictures for imports: distinct, and as large as photographs are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Picture

SIZE_WH = (640, 480)


def write_pictures(
    folder: Path, count: int, rng: np.random.Generator, size_wh: tuple[int, int] = SIZE_WH
) -> None:
    """Distinct pictures with large shapes and some noise, so that they compress as photos do."""
    folder.mkdir(parents=True)
    width, height = size_wh
    for number in range(count):
        shapes = Picture.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8))
        smooth = np.asarray(shapes.resize(size_wh, Picture.Resampling.BICUBIC), np.int16)
        pixels = (smooth + rng.integers(-8, 8, (height, width, 3))).clip(0, 255).astype(np.uint8)
        Picture.fromarray(pixels).save(folder / f"{number:06}.jpg", quality=85)
