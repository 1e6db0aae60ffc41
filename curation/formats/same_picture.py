"""Entries of one picture within a file or folder: one truth, or two that contradict each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from curation.formats.base import ImportedImage, Problem


def one_each(
    found: Iterable[tuple[str, ImportedImage]], problems: list[Problem], how: str
) -> tuple[list[ImportedImage], int]:
    """One entry of each picture; neither of several that do not say the same of it.

    Args:
        found: where each entry stands, and what it says.
        problems: is told of those that are left out.
        how: what their objects stand in, for the message.

    Returns:
        The entries, and how many said again what another says.
    """
    of_picture: dict[Path, list[tuple[str, ImportedImage]]] = defaultdict(list)
    for where, item in found:
        of_picture[item.path.resolve()].append((where, item))
    good, repeated = [], 0
    for several in of_picture.values():
        if len({said_of(item) for _, item in several}) == 1:
            good.append(several[0][1])
            repeated += len(several) - 1
            continue
        places = " and ".join(where for where, _ in several[:4])
        for where, item in several:
            why = f"left out: {item.path.name!r} has {how} ({places}), with other objects in each"
            problems.append(Problem(where, f"{why}: join them", "image"))
    return good, repeated


def said_of(item: ImportedImage) -> frozenset[tuple[object, ...]]:
    """What an entry says, in whatever order; with an object refused, nobody knows."""
    if item.refused:
        return frozenset([(id(item),)])
    rows = zip(item.boxes_xyxy.tolist(), item.labels, item.ignore, strict=True)
    return frozenset((*box, label, ignored) for box, label, ignored in rows)
