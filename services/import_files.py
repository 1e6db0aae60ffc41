"""Entries of an import into the store: checked and kept as files, before any row is written.

Decoding and syncing files takes seconds; nothing of it may happen while others wait for the
database.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from curation.errors import CurationError
from curation.formats import ImportedImage, Problem
from curation.formats.base import Labels
from services import science
from services.context import Context
from services.db.tables import Role
from services.objects import plain_text
from services.storage import StoredImage, check_image, keep_image

Kept: TypeAlias = tuple[StoredImage, ImportedImage]
"""An entry whose file is in the store, and that may be given a row."""


@dataclass(slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        images_added: new to the project.
        images_known: were there before, in the same role.
        boxes: stored, ignore regions included.
        problems: entries that were left out, with what to do.
    """

    images_added: int = 0
    images_known: int = 0
    boxes: int = 0
    problems: list[Problem] = field(default_factory=list)


def keep(
    context: Context, item: ImportedImage, role: Role, seen: set[str], report: ImportReport
) -> StoredImage | None:
    """Put the image of an entry into the store.

    Args:
        context: wiring.
        item: the entry.
        role: what the image may be used for.
        seen: ids of the images of this import; the entry's is added.
        report: is told why an entry is left out.

    Returns:
        The image, or None where the entry is left out.

    Raises:
        DiskFull: there is no space, which is no fault of the entry.
    """
    image = _store(context, item, role, report)
    if image is None:
        return None
    if image.id in seen and role != Role.POOL:
        report.problems.append(
            Problem(name_of(item), "left out: another entry of this import is the same picture")
        )
        return None
    seen.add(image.id)
    return image


def _store(
    context: Context, item: ImportedImage, role: Role, report: ImportReport
) -> StoredImage | None:
    """The image in the store, or None and a problem."""
    try:
        data = item.path.read_bytes()
        image = check_image(data, science.image_limits(context.settings), item.path.name)
    except (CurationError, OSError) as error:
        report.problems.append(Problem(name_of(item), f"left out: {error}"))
        return None
    said, found = (item.width_px, item.height_px), (image.width_px, image.height_px)
    if role != Role.POOL and all(said) and said != found:
        report.problems.append(
            Problem(
                name_of(item),
                f"left out: it is {found[0]}x{found[1]} but annotated as {said[0]}x{said[1]}, "
                "so its boxes cannot be trusted",
            )
        )
        return None
    keep_image(context.project, image, data)
    return image


def inside(item: ImportedImage, image: StoredImage, report: ImportReport) -> ImportedImage:
    """The same without boxes that leave the picture, where the format did not say its size."""
    if item.width_px and item.height_px:
        return item
    labels = Labels(name_of(item), (image.width_px, image.height_px), report.problems)
    for position, box in enumerate(item.boxes_xyxy):
        entry = f"object {position}"
        labels.add(box.tolist(), item.labels[position], item.ignore[position], entry)
    return labels.image(item.path, item.group)


def name_of(item: ImportedImage) -> str:
    """What the image is called in rows and problems."""
    return plain_text(item.path.name, 300)
