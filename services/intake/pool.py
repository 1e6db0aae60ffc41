"""A pool is every picture of a folder, annotated or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from curation import formats
from curation.formats import Imported, ReadOptions
from curation.kernel.errors import AnnotationsInvalid


def read_pool(source: Path, fmt: str | None, options: ReadOptions) -> Imported:
    """The pictures of a source for the pool.

    A folder's annotations, if it has some, only say which group a picture is of: those that nobody
    has annotated yet are what a pool is for. An annotation file that is named itself, and splits
    that are named, choose the pictures.

    Args:
        source: a folder or an annotation file.
        fmt: as of :func:`curation.formats.load`.
        options: the same.

    Raises:
        AnnotationsInvalid: there is no picture, or what was to choose them cannot be read.
    """
    if source.is_file() or options.splits.named:
        return formats.load(source, fmt, options=options)
    found = formats.plain.read(options.images or source)
    kinds = [fmt] if fmt else formats.formats_of(source)
    if kinds == ["images"]:
        return found
    try:
        annotated = formats.load(source, fmt, options=options)
    except AnnotationsInvalid as error:
        told = f"annotations in it were not read ({error}): a pool needs none"
        return replace(found, notes=(*found.notes, told))
    groups = {item.path.resolve(): item.group for item in annotated.items}
    items = tuple(
        replace(item, group=groups.get(item.path.resolve(), item.group)) for item in found.items
    )
    return replace(found, items=items)
