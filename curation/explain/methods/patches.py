"""What a patch could have looked like, given what surrounds it: Gaussians over patches.

:class:`PatchSource` holds the images that patches are learnt from; :class:`PatchSampler` is the
fitted distribution of one patch size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from curation.kernel.detector import Detector
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import FloatArray, ImageArray

_RIDGE = 1e-5  # of the mean variance: neighbouring pixels are nearly equal
_CHUNK_NUMBERS = 4_000_000  # of patches held at a time
_KEPT = 2  # samplers of a source
_Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PatchSampler:
    """One Gaussian for each colour over square patches of P = side + 2 pad pixels.

    Attributes:
        side: of the hole that is filled, in px.
        pad: px around it that are given.
        mean: [3, P * P].
        covariance: [3, P * P, P * P].
        lowest: [3, P * P] smallest value seen at each pixel of a patch.
        highest: [3, P * P] likewise.

    Source:
        Zintgraf et al., "Visualizing deep neural network decisions: prediction difference
        analysis", ICLR 2017, section 3.1.
    """

    side: int
    pad: int
    mean: _Matrix
    covariance: _Matrix
    lowest: _Matrix
    highest: _Matrix
    # one conditional Gaussian for each place of the hole in the patch and each colour: its key
    # names both, so that no colour borrows another's
    _conditionals: dict[tuple[int, int, int], tuple[FloatArray, FloatArray]] = field(
        default_factory=dict
    )

    @classmethod
    def fit(
        cls, inputs: FloatArray, side: int, pad: int = 1, num_patches: int = 20_000, seed: int = 0
    ) -> PatchSampler:
        """Learn from patches at random places.

        Args:
            inputs: [N, 3, h, w] images in the unit in which patches are to be drawn.
            side: of the hole; with ``2 * pad`` it must fit into the images.
            pad: px around the hole.
            num_patches: as many places are drawn, with repetition.
            seed: of the places.
        """
        size = side + 2 * pad
        if size > min(inputs.shape[2:]):
            raise ValueError(f"patches of {size} px do not fit images of {inputs.shape[2:]} px")
        views = sliding_window_view(inputs, (size, size), axis=(2, 3))  # [N, 3, h', w', P, P]
        rng = np.random.default_rng(seed)
        places = rng.integers(
            0, [[len(views), *views.shape[2:4]]], (num_patches, 3)
        )  # image, row, column
        centre = inputs.mean(axis=(0, 2, 3), dtype=np.float64)[:, None]  # [3, 1]
        total = np.zeros((3, size**2))
        square = np.zeros((3, size**2, size**2))
        lowest, highest = np.full_like(total, np.inf), np.full_like(total, -np.inf)
        step = max(1, _CHUNK_NUMBERS // (3 * size**2))
        for start in range(0, num_patches, step):
            image, row, column = places[start : start + step].T
            chunk = views[image, :, row, column].reshape(len(image), 3, -1).transpose(1, 0, 2)
            lowest = np.minimum(lowest, chunk.min(axis=1))
            highest = np.maximum(highest, chunk.max(axis=1))
            # float32 would err by more than the ridge where patches are nearly linear in each other
            moved = chunk - centre[:, None]  # [3, B, P * P]
            total += moved.sum(axis=1)
            square += moved.transpose(0, 2, 1) @ moved
        shift = total / num_patches
        covariance = square / num_patches - shift[:, :, None] * shift[:, None, :]
        diagonal = np.arange(size**2)
        spread = covariance[:, diagonal, diagonal].mean(axis=1, keepdims=True)  # [3, 1]
        covariance[:, diagonal, diagonal] += _RIDGE * spread + 1e-12
        return cls(side, pad, centre + shift, covariance, lowest, highest)

    def draw(
        self,
        patch: FloatArray,
        hole: tuple[int, int],
        count: int,
        rng: np.random.Generator,
    ) -> FloatArray:
        """Fillings [count, 3, side, side] of the hole, given the rest of the patch.

        Args:
            patch: [3, P, P]; what it holds inside the hole is not looked at.
            hole: (row, column) of the hole's corner in the patch: (pad, pad) inside an image,
                0 or 2 pad at its borders.
            count: independent fillings.
            rng: source of the draws.

        Raises:
            ExplanationFailed: the covariance is not positive definite.
        """
        inside = self._inside(hole)
        drawn = np.empty((count, 3, self.side**2), np.float32)
        for colour in range(3):
            gain, root = self._conditional(hole, colour)
            mean = self.mean[colour]
            given = (patch[colour].ravel()[~inside] - mean[~inside]).astype(np.float32)
            noise = rng.standard_normal((count, self.side**2)).astype(np.float32)
            value = mean[inside] + gain @ given + noise @ root.T
            low, high = self.lowest[colour][inside], self.highest[colour][inside]
            drawn[:, colour] = np.clip(value, low, high)
        return drawn.reshape(count, 3, self.side, self.side)

    def _inside(self, hole: tuple[int, int]) -> npt.NDArray[np.bool_]:
        size = self.side + 2 * self.pad
        mask = np.zeros((size, size), np.bool_)
        mask[hole[0] : hole[0] + self.side, hole[1] : hole[1] + self.side] = True
        return mask.ravel()

    def _conditional(self, hole: tuple[int, int], colour: int) -> tuple[FloatArray, FloatArray]:
        """Gain [inside, outside] and the root of the conditional covariance [inside, inside].

        Solved in float64 and kept in float32: a hole of 50 px has 9 places, 3 colours and 27 MB
        for each of them.
        """
        key = (*hole, colour)
        if key not in self._conditionals:
            inside = self._inside(hole)
            whole = self.covariance[colour]
            across = whole[np.ix_(inside, ~inside)]
            around = whole[np.ix_(~inside, ~inside)]
            try:
                gain = np.linalg.solve(around, across.T).T if self.pad else across
                left = whole[np.ix_(inside, inside)] - gain @ across.T
                root = np.linalg.cholesky((left + left.T) / 2)
            except np.linalg.LinAlgError as error:
                raise ExplanationFailed(
                    f"patches of {self.side} px have no distribution to draw from ({error}): "
                    "learn from more or other images, or take mode='marginal'"
                ) from error
            self._conditionals[key] = (gain.astype(np.float32), root.astype(np.float32))
        return self._conditionals[key]


class PatchSource:
    """Images that patches are learnt from, with the samplers that were last asked for.

    Two are kept, since the memory of one grows with the fourth power of its side: 0.9 GB at
    50 px.

    Args:
        images: [H, W, 3] uint8 each; a few dozen of the world that is explained.
        num_patches: drawn for each fit.
        seed: of their places.
    """

    def __init__(
        self, images: Sequence[ImageArray], num_patches: int = 20_000, seed: int = 0
    ) -> None:
        if not images:
            raise ValueError("patches need at least one image to be learnt from")
        self._images, self._num_patches, self._seed = list(images), num_patches, seed
        self._fitted: dict[tuple[str, int, int], PatchSampler] = {}

    @property
    def key(self) -> str:
        """SHA-256 of images and parameters: equal keys give equal samplers."""
        digest = hashlib.sha256(f"{self._num_patches} {self._seed}".encode())
        for image in self._images:
            digest.update(str(image.shape).encode() + image.tobytes())
        return digest.hexdigest()

    def sampler(self, detector: Detector, side: int, pad: int) -> PatchSampler:
        """The sampler for holes of ``side`` px in this detector's inputs.

        Fitted again where it is not among those kept; it is the same then.
        """
        key = (detector.version, side, pad)
        found = self._fitted.pop(key, None)
        if found is None:
            while len(self._fitted) >= _KEPT:
                del self._fitted[next(iter(self._fitted))]  # the one not asked for the longest
            inputs = detector.preprocess(self._images).float().cpu().numpy()
            found = PatchSampler.fit(inputs, side, pad, self._num_patches, self._seed)
        self._fitted[key] = found
        return found

    def release(self) -> None:
        """Forget the samplers; they are fitted again when asked for."""
        self._fitted.clear()
