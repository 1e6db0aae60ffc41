"""How two region vectors are compared: centred, whitened, region and ring apart.

Pretrained features of any two regions have a cosine above one half: they share a large mean and
a few directions hold most of the variance. The metric removes the pool's mean and equalises its
leading directions, so that what is rare in this pool counts. It is fitted to stored vectors and
never applied to what is stored: a new metric needs no new embedding.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from curation.kernel.types import BoolArray, FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """An affine map for each part of a vector; similarities are cosines after it.

    Attributes:
        means: [P, d] float32, of each of P equal parts of a raw vector.
        projections: [P, d, m] float32.
        part_weights: [P] float32 whose squares sum to 1: how much each part counts.
    """

    means: FloatArray
    projections: FloatArray
    part_weights: FloatArray

    @property
    def width(self) -> int:
        """Length of a mapped vector, P * m."""
        return int(self.projections.shape[0] * self.projections.shape[2])

    @property
    def name(self) -> str:
        """Short hash of the content."""
        digest = hashlib.sha256()
        for array in (self.means, self.projections, self.part_weights):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def apply(self, vectors: FloatArray) -> FloatArray:
        """[N, P d] raw vectors to [N, P m] of unit length."""
        parts, size = self.means.shape
        raw = np.asarray(vectors, np.float32).reshape(-1, parts, size)
        # As matrix products of each part: einsum does not use BLAS where a batch axis is kept.
        centred = (raw - self.means).transpose(1, 0, 2)  # [P, N, d]
        mapped = np.matmul(centred, self.projections).transpose(1, 0, 2)  # [N, P, m]
        return self.unit(mapped, np.abs(raw).max(2, initial=0) > 0)

    def through(self, bases: FloatArray, means: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The metric of vectors given as numbers along directions, but for ``unit``.

        Args:
            bases: [P, K, d], directions of each part.
            means: [P, d], what is at their origin.

        Returns:
            Matrices [P, K, m] and offsets [P, m]: numbers times the one plus the other are mapped.
        """
        centred = (means - self.means)[:, None]
        matrices: FloatArray = np.matmul(bases, self.projections)
        return matrices, np.matmul(centred, self.projections)[:, 0]

    def unit(self, mapped: FloatArray, present: BoolArray) -> FloatArray:
        """[N, P m] of unit length.

        Args:
            mapped: [N, P, m], projected parts.
            present: [N, P], which parts are not all zero as raw vectors. An empty ring is a zero
                half; it stays zero instead of becoming minus the mean.
        """
        weights = self.part_weights * present  # [N, P]
        lengths = np.maximum(np.linalg.norm(mapped, axis=2), 1e-12)
        flat = (mapped * (weights / lengths)[..., None]).reshape(len(mapped), self.width)
        unit: FloatArray = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
        return unit

    @staticmethod
    def identity(width: int) -> Metric:
        """Plain cosine, for too few vectors to fit anything."""
        return Metric(
            np.zeros((1, width), np.float32),
            np.eye(width, dtype=np.float32)[None],
            np.ones(1, np.float32),
        )


@dataclass(frozen=True, slots=True)
class MetricRules:
    """How a metric is fitted.

    Attributes:
        num_parts: equal parts of a raw vector, whitened apart.
        width: directions kept of each part; 96 of two parts make 192.
        power: 0 rotates only, 1 whitens fully.
        region_weight: share of the first part in a similarity, in 0..1; the rest is spread over
            the other parts.
        max_sample: vectors that are looked at.
        min_sample: with fewer the metric is the identity.
    """

    num_parts: int = 2
    width: int = 96
    power: float = 0.75
    region_weight: float = 0.6
    max_sample: int = 20_000
    min_sample: int = 256


def fit_metric(vectors: FloatArray, rules: MetricRules) -> Metric:
    """The metric of these vectors; the same vectors give the same metric.

    Args:
        vectors: [N, W] raw, W divisible by ``rules.num_parts``.
        rules: see there.
    """
    count, width = vectors.shape
    if count < rules.min_sample or width % rules.num_parts:
        return Metric.identity(width)
    step = max(1, count // rules.max_sample)
    sample = np.asarray(vectors[::step], np.float32).reshape(
        -1, rules.num_parts, width // rules.num_parts
    )
    means, projections = zip(
        *(_whiten(sample[:, part], rules) for part in range(rules.num_parts)), strict=True
    )
    others = max(1, rules.num_parts - 1)
    shares = [rules.region_weight] + [(1 - rules.region_weight) / others] * (rules.num_parts - 1)
    return Metric(np.stack(means), np.stack(projections), np.sqrt(np.array(shares, np.float32)))


def _whiten(sample: FloatArray, rules: MetricRules) -> tuple[FloatArray, FloatArray]:
    """Mean [d] and projection [d, m] of one part; all in float64 inside."""
    present = sample[np.abs(sample).max(1) > 0].astype(np.float64)
    if len(present) < 2:  # one has no covariance
        present = sample.astype(np.float64)
    mean = present.mean(0)
    values, vectors = np.linalg.eigh(np.cov(present - mean, rowvar=False))
    order = np.argsort(-values, kind="stable")[: rules.width]
    kept = np.maximum(values[order], 0)
    # The floor keeps directions without variance from turning into amplified noise.
    scale = (kept + 1e-3 * max(kept[0], 1e-12)) ** (-rules.power / 2)
    return mean.astype(np.float32), (vectors[:, order] * scale).astype(np.float32)
