"""One picture has one truth: several entries of it are joined, or none of them is believed."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from curation.formats.base import ImportedImage, Problem

_CHUNK = 2**20
"""Bytes of a file that are hashed at a time; a picture may have hundreds of megabytes."""


@dataclass(frozen=True, slots=True)
class OneTruth:
    """Entries of which no two are the same picture.

    Attributes:
        items: the entries, in their order; a joined one stands where its first part stood.
        problems: of each entry that contradicts another, by its place among those given.
        joined: places of entries that were parts of another one's truth, as where each class has
            a file.
        repeated: places of those that said again what another one says of the same picture.
    """

    items: tuple[tuple[int, ImportedImage], ...]
    problems: Mapping[int, Problem]
    joined: tuple[int, ...] = ()
    repeated: tuple[int, ...] = ()


def one_truth(items: Sequence[ImportedImage]) -> OneTruth:
    """Join the entries of each picture, or leave all of them out.

    Entries are of one picture if they name one file, or files with one content. They are parts of
    one truth if they stand in different annotation files that have no class in common anywhere:
    so do tools write that keep a file a class. Otherwise two truths contradict each other, and
    neither of them may win by its place in a list.

    Args:
        items: of one import, ``annotated_in`` telling the annotation file of each.
    """
    classes: dict[str, set[str]] = defaultdict(set)
    for item in items:
        classes[item.annotated_in].update(item.labels)
    kept: list[tuple[int, ImportedImage]] = []
    problems: dict[int, Problem] = {}
    joined: list[int] = []
    repeated: list[int] = []
    for places in _same_picture(items):
        first, *others = _distinct(items, places)
        repeated += sorted(set(places) - {first, *others})
        if not others:
            kept.append((first, items[first]))
        elif _are_parts([items[place] for place in (first, *others)], classes):
            joined += others
            kept.append((first, _joined([items[place] for place in (first, *others)])))
        else:
            problems |= {place: _contradiction(items, place, places) for place in places}
    kept.sort(key=lambda one: one[0])
    return OneTruth(tuple(kept), problems, tuple(joined), tuple(repeated))


def _same_picture(items: Sequence[ImportedImage]) -> list[list[int]]:
    """Places of the entries, those of one picture together."""
    by_file: dict[Path, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        by_file[item.path.resolve()].append(place)
    by_size: dict[int, list[Path]] = defaultdict(list)
    for file in by_file:
        by_size[_size(file)].append(file)
    groups: list[list[int]] = []
    for size, files in by_size.items():
        if len(files) == 1 or size < 0:  # only files of one size can be alike: few are opened
            groups += [by_file[file] for file in files]
            continue
        by_content: dict[bytes, list[int]] = defaultdict(list)
        for file in files:
            by_content[_digest(file)] += by_file[file]
        groups += [sorted(places) for places in by_content.values()]
    return groups


def _distinct(items: Sequence[ImportedImage], places: Sequence[int]) -> list[int]:
    """Places of the entries that say something of their own."""
    distinct: list[int] = []
    for place in places:
        if not any(_says_the_same(items[place], items[other]) for other in distinct):
            distinct.append(place)
    return distinct


def _says_the_same(one: ImportedImage, other: ImportedImage) -> bool:
    if one.refused or other.refused:
        return False
    return _objects(one) == _objects(other)


def _objects(item: ImportedImage) -> list[tuple[str, bool, list[float]]]:
    boxes = item.boxes_xyxy.round(2).tolist()
    return sorted(zip(item.labels, item.ignore, boxes, strict=True))


def _are_parts(group: Sequence[ImportedImage], classes: Mapping[str, Collection[str]]) -> bool:
    names = [item.annotated_in for item in group]
    if "" in names or len(set(names)) < len(names):
        return False
    used = [set(classes[name]) for name in names]
    return sum(map(len, used)) == len(set[str]().union(*used))


def _joined(group: Sequence[ImportedImage]) -> ImportedImage:
    sizes = {(item.width_px, item.height_px) for item in group} - {(0, 0)}
    first = group[0]
    width, height = sizes.pop() if len(sizes) == 1 else (first.width_px, first.height_px)
    return replace(
        first,
        width_px=width,
        height_px=height,
        boxes_xyxy=np.concatenate([item.boxes_xyxy for item in group]),
        labels=tuple(label for item in group for label in item.labels),
        ignore=tuple(flag for item in group for flag in item.ignore),
        refused=tuple(one for item in group for one in item.refused),
        unlabelled=all(item.unlabelled for item in group),
    )


def _contradiction(items: Sequence[ImportedImage], place: int, places: Sequence[int]) -> Problem:
    item, other = items[place], items[next(one for one in places if one != place)]
    same = item.path.name == other.path.name and item.annotated_in == other.annotated_in
    rival = "another entry" if same else f"{_name(other)!r}"
    why = (
        f"left out: {rival} is the same picture and says otherwise; keep the entry that is right, "
        "or join them"
    )
    return Problem(item.path.name, why, "image")


def _name(item: ImportedImage) -> str:
    file = Path(item.annotated_in).name
    return f"{item.path.name} in {file}" if file else item.path.name


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return -1  # told when it is read


def _digest(file: Path) -> bytes:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return str(file).encode("utf-8", "surrogateescape")  # like no other
    return digest.digest()
