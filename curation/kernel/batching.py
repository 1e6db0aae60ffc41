"""Decoded images that are looked at together: so many at most, and so many pixels.

A number of images alone is no bound of memory: 32 telephone pictures take 1.2 GB decoded, 32 of the
largest that are taken 5 GB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

PIXELS_IN_FLIGHT = 128_000_000
"""384 MB decoded: 32 images of 4 megapixels. Smaller ones come in the batches that they always
came in; a larger one comes alone."""


def in_batches(
    items: Iterable[Item],
    pixels: Callable[[Item], int],
    most: int,
    max_pixels: int = PIXELS_IN_FLIGHT,
) -> Iterator[list[Item]]:
    """Items in their order, in batches that are decoded at once.

    Args:
        items: what is to be decoded.
        pixels: width times height of an item, known before it is decoded.
        most: items a batch.
        max_pixels: pixels a batch, unless one item alone has more.
    """
    batch: list[Item] = []
    held = 0
    for item in items:
        size = pixels(item)
        if batch and (len(batch) == most or held + size > max_pixels):
            yield batch
            batch, held = [], 0
        batch.append(item)
        held += size
    if batch:
        yield batch
