"""What is asked of a region index, whatever engine holds it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from curation.index.metric import Metric
from curation.index.snapshot import Hits, ImageScores
from curation.kernel.types import FloatArray


class PoolIndex(Protocol):
    """The regions of a pool, searchable by region; ``RegionIndex`` and ``LanceIndex`` are two.

    Any number of processes search, add and delete at once. What a call has added or deleted, every
    call that begins afterwards knows of, in every process and on every host.
    """

    def __len__(self) -> int:
        """Live regions."""
        ...

    def __contains__(self, image_id: str) -> bool:
        """Whether an image is in."""
        ...

    @property
    def metric(self) -> Metric:
        """What similarities are computed under."""
        ...

    def images(self) -> tuple[str, ...]:
        """Ids of all live images, sorted."""
        ...

    def regions_of(self, image_id: str) -> tuple[FloatArray, FloatArray]:
        """Raw vectors [R, W] float32, as exact as they are stored, and boxes [R, 4] px of an image.

        Raises:
            KeyError: it is not in the index.
        """
        ...

    def search(self, queries: FloatArray, k: int) -> Hits:
        """The k nearest live regions of each query [Q, W], exact vectors deciding among more.

        Raises:
            EncoderMismatch: queries of another width.
        """
        ...

    def score_images(
        self,
        queries: FloatArray,
        k: int = 1000,
        excluded: Collection[str] = (),
        only: Collection[str] | None = None,
    ) -> ImageScores:
        """For each image the best similarity of any of its regions to each query.

        At least those images that hold one of the k regions nearest to any query are scored.

        Args:
            queries: [Q, W] raw vectors of the same encoder.
            k: regions proposed a query.
            excluded: images that are passed over; they take no place among the k.
            only: score these and search for no others; None searches.

        Raises:
            EncoderMismatch: queries of another width.
        """
        ...

    def add(
        self,
        image_ids: Sequence[str],
        vectors: Sequence[FloatArray],
        boxes_xyxy: Sequence[FloatArray],
    ) -> None:
        """Put images in, all or none; an image that is in already is replaced.

        Args:
            image_ids: distinct, at most 64 bytes of text each, without a NUL character.
            vectors: [R, W] of each image, finite in half precision.
            boxes_xyxy: [R, 4] px of each image.

        Raises:
            ValueError: ids repeat, are too long or hold a NUL, a vector is not finite, or boxes
                do not match vectors.
            EncoderMismatch: a vector has another width.
            IndexBusy: others are writing all the time.
        """
        ...

    def delete(self, image_id: str) -> bool:
        """Take an image out; False if it was not in. Errors as of :meth:`add`."""
        ...

    def num_stored(self) -> int:
        """Regions in the files, those of deleted and replaced images too where they still are."""
        ...

    def waiting(self) -> int:
        """Regions that came since the last seal: a search compares each of them."""
        ...

    def uncoded(self) -> int:
        """Regions that lie as they came in, and that :meth:`compress` packs."""
        ...

    def compress(self) -> int:
        """Pack what lies as it came in, without a seal; how much of it is left."""
        ...

    def seal(self) -> int:
        """Make a search cost less: fit the metric, index what waits, drop what is dead.

        Others search, add and delete meanwhile.

        Returns:
            How many regions a search does not have to compare one by one.

        Raises:
            IndexBusy: another process is sealing.
        """
        ...

    def verify(self) -> None:
        """Read everything and compare it with what was written.

        Raises:
            ShardCorrupt: something is damaged or lost.
        """
        ...
