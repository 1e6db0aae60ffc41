"""Whether a frame of a video shows anything that the last one that was kept does not.

A vehicle that waits at a light films one picture a hundred times. The perceptual hash sees that the
scene is the same, but not a small thing that came into it: it has 9 by 8 points. So a finer
thumbnail is compared too, by its point that has changed most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from curation.kernel.images import hamming, perceptual_hash
from curation.kernel.types import ImageArray

MAX_DISTANCE = 4
"""Bits of 64 in which the hashes of two pictures of one scene differ at most."""
SIDE = 32
"""Points of the thumbnail a side: of a picture of 1280 x 720 a point is 40 x 22 px, about a person
at 30 m."""
CHANGE = 12
"""Levels of 256 by which a point must change. Sensor noise of 20 levels and the coder's leave less
than 3 in the mean of some hundred pixels."""


@dataclass(slots=True)
class Standing:
    """Compares each frame with the last one that was kept.

    Attributes:
        max_distance: bits of 64; negative: every frame is new.
        last_hash: of the frame kept last; None: none was.
        last_thumbnail: [32, 32] uint8 of the same.
    """

    max_distance: int = MAX_DISTANCE
    last_hash: int | None = None
    last_thumbnail: npt.NDArray[np.uint8] | None = None

    def is_new(self, image: ImageArray) -> bool:
        """Whether to keep a frame; the next ones are compared with it if so.

        Args:
            image: [H, W, 3] uint8.
        """
        seen, small = perceptual_hash(image), thumbnail(image)
        before = self.last_hash
        same = before is not None and hamming(seen, before) <= self.max_distance
        if same and not self._changed(small):
            return False
        self.last_hash, self.last_thumbnail = seen, small
        return True

    def _changed(self, small: npt.NDArray[np.uint8]) -> bool:
        if self.last_thumbnail is None:
            return True
        # A cloud before the sun changes all points alike: that is no thing in the scene.
        moved = small.astype(np.int16) - self.last_thumbnail
        return bool(np.abs(moved - np.median(moved)).max() >= CHANGE)


def thumbnail(image: ImageArray) -> npt.NDArray[np.uint8]:
    """Means of grey [32, 32] uint8 of an image [H, W, 3] uint8."""
    grey = Image.fromarray(image).convert("L")
    small: npt.NDArray[np.uint8] = np.asarray(
        grey.resize((SIDE, SIDE), Image.Resampling.BOX), np.uint8
    )
    return small
