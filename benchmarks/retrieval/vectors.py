"""Region vectors in any number, distributed as those of real images.

Real images (CARLA frames, blood smears, generated street scenes, random crops of the photographs
that scikit-image and scikit-learn carry) go through the real ``RegionEmbedder``. Their region
vectors are clustered (k-means); within each cluster the residuals have a spectrum of their own. A
new image takes a real image, popular ones more often (Zipf), and each of its regions is

    centre of the region's cluster + 0.7 x its residual + sqrt(1 - 0.49) x noise,

the noise drawn in the leading directions of all residuals with the cluster's own spread in each
(anisotropic), half of its variance shared by all regions of the image (correlated regions) and
its length different from image to image (log-normal). The spread within a cluster so stays what it
was, and no two images repeat a vector. One region in ten comes from another image of like content.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from PIL import Image

from curation.embedding.embed import RegionEmbedder
from curation.embedding.encoder import TimmEncoder
from curation.kernel.images import load
from curation.kernel.types import FloatArray, ImageArray
from services.demo import street as world

CLUSTERS = 256
DIRECTIONS = 192
KEPT = 0.7
SHARED = 0.5
MOVED = 0.1
ZIPF = 0.5
PACKAGED = ("skimage/data", "sklearn/datasets/images")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What is drawn from; regions R an image, width W, clusters C, directions E.

    Attributes:
        anchors: [I, R, W] float32, centre + KEPT x residual of each real region.
        clusters: [I, R] int64.
        spread: [C, E] float32, standard deviation of the cluster's residuals in each direction.
        directions: [E, W] float32 orthonormal.
        alike: [I, 8] int64, images of like content.
    """

    anchors: FloatArray
    clusters: np.ndarray
    spread: FloatArray
    directions: FloatArray
    alike: np.ndarray

    @property
    def regions(self) -> int:
        """R, regions an image."""
        return int(self.anchors.shape[1])

    @property
    def width(self) -> int:
        """W of a vector."""
        return int(self.anchors.shape[2])

    def draw(self, count: int, rng: np.random.Generator) -> FloatArray:
        """[count, R, W] float32, each half of a vector of equal length, the whole of length 1."""
        popularity = np.arange(1, len(self.anchors) + 1) ** -ZIPF
        image = rng.choice(len(self.anchors), count, p=popularity / popularity.sum())
        image = np.repeat(image[:, None], self.regions, 1)  # [count, R]
        other = self.alike[image, rng.integers(self.alike.shape[1], size=image.shape)]
        image = np.where(rng.random(image.shape) < MOVED, other, image)
        region = np.broadcast_to(np.arange(self.regions), image.shape)
        shape = (count, self.regions, len(self.directions))
        noise = np.sqrt(SHARED) * rng.standard_normal((count, 1, shape[2]), np.float32)
        noise = noise + np.sqrt(1 - SHARED) * rng.standard_normal(shape, np.float32)
        noise *= self.spread[self.clusters[image, region]]
        noise *= rng.lognormal(0, 0.25, (count, 1, 1)).astype(np.float32)
        flat = noise.reshape(-1, shape[2]).astype(np.float32) @ self.directions
        vectors: FloatArray = flat.reshape(count, self.regions, -1)
        vectors *= np.float32(np.sqrt(1 - KEPT**2))
        vectors += self.anchors[image, region]
        halves = vectors.reshape(count, self.regions, 2, -1)
        halves /= np.linalg.norm(halves, axis=-1, keepdims=True) * np.float32(np.sqrt(2))
        return vectors

    def chunks(self, regions: int, images: int) -> Iterator[tuple[int, FloatArray]]:
        """First image and vectors [n, R, W] fp16 of each chunk; the same at every call."""
        total = -(-regions // self.regions)
        for first in range(0, total, images):
            rng = np.random.default_rng((1, first))
            yield first, self.draw(min(images, total - first), rng).astype(np.float16)


def source(real: FloatArray, seed: int = 0) -> Source:
    """Clusters and spreads of real region vectors [I, R, W]."""
    images, regions, width = real.shape
    real = real[np.random.default_rng(seed).permutation(images)]
    flat = np.ascontiguousarray(real.reshape(-1, width))
    means = faiss.Kmeans(width, CLUSTERS, niter=12, seed=seed)
    means.train(flat)
    cluster = means.index.search(flat, 1)[1][:, 0]
    centroids = np.asarray(means.centroids, np.float32)
    residuals = flat - centroids[cluster]
    _, vectors = np.linalg.eigh(residuals.T @ residuals)
    directions = np.ascontiguousarray(vectors[:, ::-1][:, :DIRECTIONS].T.astype(np.float32))
    along = (residuals @ directions.T) ** 2
    spread = np.zeros((CLUSTERS, len(directions)), np.float32)
    np.add.at(spread, cluster, along)
    # Small clusters know little of their own spread: 32 regions of the average one are mixed in.
    members = np.bincount(cluster, minlength=CLUSTERS)[:, None]
    spread = np.sqrt((spread + 32 * along.mean(0)) / (members + 32)).astype(np.float32)
    whole = real.mean(1)
    exact = faiss.IndexFlatL2(width)
    exact.add(np.ascontiguousarray(whole))
    alike = exact.search(np.ascontiguousarray(whole), 9)[1][:, 1:]
    anchors = (flat - (1 - KEPT) * residuals).reshape(real.shape)
    return Source(anchors, cluster.reshape(images, regions), spread, directions, alike)


def narrowed(real: FloatArray, width: int) -> FloatArray:
    """Each half of [I, R, W] rotated onto its ``width`` / 2 leading directions."""
    if width >= real.shape[2]:
        return real
    halves = np.split(real.reshape(-1, real.shape[2]), 2, axis=1)
    kept = []
    for half in halves:
        _, vectors = np.linalg.eigh(half.T @ half)
        mapped = half @ vectors[:, ::-1][:, : width // 2]
        kept.append(mapped / np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), 1e-9))
    joined: FloatArray = (np.concatenate(kept, 1) / np.sqrt(2)).astype(np.float32)
    return joined.reshape(*real.shape[:2], -1)


def embedded(data: Path, kept: Path, images: int, seed: int = 0) -> FloatArray:
    """[I, R, W] float32 region vectors of real images, computed once."""
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        embedder = RegionEmbedder(TimmEncoder())
        found = [
            one.vectors
            for image in _images(data, images, seed)
            for one in embedder.embed_pool([image])
        ]
        np.save(kept, np.stack(found))
    vectors: FloatArray = np.load(kept)
    return vectors


def _images(data: Path, count: int, seed: int) -> Iterator[ImageArray]:
    """About a quarter each: CARLA, blood smears, street scenes, crops of photographs."""
    rng = np.random.default_rng(seed)
    quarter = count // 4
    for folder in ("carla/images", "bccd/images"):
        files = sorted((data / folder).iterdir()) if (data / folder).exists() else []
        for number in rng.permutation(len(files))[:quarter]:
            yield load(files[number])
    for scene in world.generate(world.WorldConfig(), "seed", quarter, seed):
        yield scene.image
    photographs = packaged_photographs()
    for _ in range(quarter):
        yield crop(photographs[rng.integers(len(photographs))], rng)


def packaged_photographs() -> list[ImageArray]:
    """Those that scikit-image and scikit-learn carry and that are large enough to crop."""
    site = Path(faiss.__file__).parents[1]
    files = [file for folder in PACKAGED for file in sorted((site / folder).glob("*.[jp][pn]g"))]
    pictures = [np.asarray(Image.open(file).convert("RGB"), np.uint8) for file in files]
    return [picture for picture in pictures if min(picture.shape[:2]) >= 200]


def crop(picture: ImageArray, rng: np.random.Generator) -> ImageArray:
    """A random part of a picture, of half to all of its shorter side."""
    height, width = picture.shape[:2]
    side = int(min(height, width) * rng.uniform(0.5, 1))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    part = picture[top : top + side, left : left + side]
    return np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)
