"""A pool that is too large to be held, seen a batch at a time by policies that compare it all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from curation.embedding.embed import RegionEmbedder
from curation.kernel.types import Detections
from curation.select import PoolImage
from services.context import Context
from services.db.parts import in_parts
from services.selection import rois

AT_ONCE = 256
"""Images that are held with the vectors of their objects: 20 MB."""


@dataclass(frozen=True, slots=True)
class PoolLook:
    """Gives images of the pool with what the champion detects in them; a ``Look`` of policies.

    Attributes:
        context: wiring.
        scores: what it detects, by image.
        embedder: of objects.
        strongest: whether the policy compares objects, so that only those detections count that
            are compared.
    """

    context: Context
    scores: Mapping[str, Detections]
    embedder: RegionEmbedder
    strongest: bool

    def __call__(self, images: Sequence[PoolImage], objects: bool) -> Iterator[PoolImage]:
        """The same images in their order; see ``curation.select.looking``."""
        for part in in_parts(images, AT_ONCE):
            seen = [replace(image, detections=self.scores.get(image.image)) for image in part]
            if objects:
                seen = rois.with_rois(self.context, seen, self.embedder)
            elif self.strongest:
                seen = [replace(one, detections=rois.strongest(one.detections)) for one in seen]
            yield from seen
