"""How a policy sees a pool that is too large to be held: some images, then the next.

A pool of a hundred thousand images is held as names, prices and hashes. What the champion detects
in an image, and the vectors of that (70 KB an image), come when they are asked for and go with the
next batch; a policy keeps what it makes of them, such as a number an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from curation.select.base import PoolImage, SelectionRequest

MEAN_IMAGES = 2000
"""Images whose objects make a mean: an encoder takes a second for twenty of them, and the mean of
ten objects in each lies within a hundredth of its spread of that of all."""


def looked_at(
    request: SelectionRequest, images: Sequence[PoolImage], objects: bool = False
) -> Iterator[PoolImage]:
    """Some images of the pool with what the champion detects in them, in their order.

    Args:
        request: whose pool it is.
        images: of it.
        objects: whether vectors of what is detected are wanted.
    """
    seen: Iterable[PoolImage] = images if request.look is None else request.look(images, objects)
    yield from seen


def sampled(images: Sequence[PoolImage]) -> Sequence[PoolImage]:
    """At most ``MEAN_IMAGES`` of some images, evenly over their names."""
    by_name = sorted(images, key=lambda image: image.image)
    return by_name[:: -(-len(by_name) // MEAN_IMAGES) or 1]
