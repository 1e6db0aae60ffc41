"""Entries of an import into the store: checked and kept as files, before any row is written.

Decoding and syncing files takes seconds; nothing of it may happen while others wait for the
database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from curation.formats import ImportedImage, Problem
from curation.formats.base import Labels
from curation.kernel import images
from curation.kernel.errors import CurationError
from services.config import builders
from services.context import Context
from services.db.tables import Role
from services.intake.bucket_source import Mirror
from services.intake.objects import plain_text, too_many
from services.store.groups import Group
from services.store.references import reference_key
from services.store.storage import IMAGES, StoredImage, check_image, keep_image

Kept: TypeAlias = tuple[StoredImage, ImportedImage]
"""An entry whose file is in the store, and that may be given a row."""


@dataclass(slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        images_added: new to the project.
        images_known: were there before, in the same role.
        images_elsewhere: were there before, in another role, where they stay.
        boxes: stored, ignore regions included.
        ignored: of these, the ignore regions, which nothing is learnt from.
        empty: images whose truth is that nothing is in them.
        unlabelled: of these, the images that the source says nothing of at all: by its format
            they are empty, unless nobody has looked at them yet.
        truths_replaced: images whose labels the source's took the place of.
        corrections_kept: images whose labels stay as a person has corrected them since.
        problems: entries that were left out, with what to do.
        notes: what else a person should know.
    """

    images_added: int = 0
    images_known: int = 0
    images_elsewhere: int = 0
    boxes: int = 0
    ignored: int = 0
    empty: int = 0
    unlabelled: int = 0
    truths_replaced: int = 0
    corrections_kept: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def images_left_out(self) -> int:
        """Images that the source has and the project did not take."""
        return sum(one.loses == "image" for one in self.problems)

    @property
    def images_there(self) -> int:
        """Images of the source that were in the project before, whatever their role."""
        return self.images_known + self.images_elsewhere

    @property
    def complete(self) -> bool:
        """Whether all that the source has for this role is in the project now, and it has some.

        Importing again what is there is a success; a source of nothing is none.
        """
        some = self.images_added or self.images_there
        return bool(some) and all(one.loses == "nothing" for one in self.problems)

    def leave_out(self, item: ImportedImage, why: object) -> None:
        """Note an image that does not come in."""
        self.problems.append(Problem(name_of(item), f"left out: {why}", "image"))

    def add(self, other: ImportReport) -> None:
        """Count what another part of the import did."""
        self.images_added += other.images_added
        self.images_known += other.images_known
        self.images_elsewhere += other.images_elsewhere
        self.boxes += other.boxes
        self.ignored += other.ignored
        self.empty += other.empty
        self.unlabelled += other.unlabelled
        self.truths_replaced += other.truths_replaced
        self.corrections_kept += other.corrections_kept
        self.problems += other.problems
        self.notes += other.notes


@dataclass(slots=True)
class Looks:
    """What the pictures of an import are like, for what a person should know of them.

    Attributes:
        hashes: perceptual hash of each picture that was kept, by its id.
        turned: pictures with an orientation tag.
        depths: what became of pictures that are not plain 8 bits or have several pages.
    """

    hashes: dict[str, int] = field(default_factory=dict)
    turned: int = 0
    depths: Counter[str] = field(default_factory=Counter)

    def add(self, image: StoredImage, data: bytes) -> None:
        """Look at a picture that was kept."""
        self.hashes[image.id] = int(image.perceptual_hash, 16)
        self.turned += images.orientation_of(data) != 1
        if told := images.depth_note(data):
            self.depths[told] += 1

    def notes(self) -> list[str]:
        """A line about each kind that there was."""
        told = [f"{count} images: {what}" for what, count in sorted(self.depths.items())]
        if self.turned:
            told.append(
                f"{self.turned} images carry an orientation tag and are stored upright; boxes that "
                "were drawn on the unturned pixels are in the wrong place: look at some"
            )
        return told


def keep(
    context: Context,
    item: ImportedImage,
    role: Role,
    looks: Looks,
    report: ImportReport,
    group: Group,
    mirror: Mirror | None = None,
) -> Kept | None:
    """Put the image of an entry into the store; it is there when ``group`` is finished.

    An image without one of its objects would be trained on, or judged, as if nothing were there:
    it is left out, except from the pool, which has no labels.

    Args:
        context: wiring.
        item: the entry.
        role: what the image may be used for.
        looks: is told what the picture is like.
        report: is told why an entry is left out.
        group: files that reach the disk together.
        mirror: of the bucket in which the picture stays; None: it is stored.

    Returns:
        The image and the entry with what is in the picture, or None where it is left out.

    Raises:
        DiskFull: there is no space, which is no fault of the entry.
    """
    labelled = role != Role.POOL
    if labelled and item.refused:
        report.leave_out(item, _incomplete(item.refused))
        return None
    try:
        data = item.path.read_bytes()
        image = check_image(data, builders.image_limits(context.settings), item.path.name)
    except (CurationError, OSError) as error:
        report.leave_out(item, error)
        return None
    if labelled:
        item = _inside(item, image)
        if wrong := _wrong_labels(item, image):
            report.leave_out(item, wrong)
            return None
        most = context.settings.ingest.max_objects
        if len(item.labels) > most:
            report.leave_out(item, too_many(len(item.labels), most))
            return None
    if mirror is None:
        keep_image(context, image, data, group)
    else:
        where = mirror.reference_of(item.path)
        group.write(reference_key(f"{IMAGES}/{image.file}"), where.to_bytes())
    looks.add(image, data)
    return image, item


def _wrong_labels(item: ImportedImage, image: StoredImage) -> str:
    """Why the labels are not those of the picture; "" if they are."""
    said, found = (item.width_px, item.height_px), (image.width_px, image.height_px)
    if said != found:
        told = f"it is {found[0]}x{found[1]} but annotated as {said[0]}x{said[1]}"
        if said == found[::-1]:
            told += " (it may have been turned by its orientation tag: label the upright picture)"
        return f"{told}, so its boxes cannot be trusted"
    return _incomplete(item.refused) if item.refused else ""


def _incomplete(refused: Sequence[Problem]) -> str:
    first = refused[0].message.removeprefix("left out: ")
    more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    return f"an object of it cannot be used: {refused[0].where}: {first}{more}"


def _inside(item: ImportedImage, image: StoredImage) -> ImportedImage:
    """The same without boxes that leave the picture, where the format did not say its size."""
    if item.width_px and item.height_px:
        return item
    labels = Labels(name_of(item), (image.width_px, image.height_px), [])
    for position, box in enumerate(item.boxes_xyxy):
        entry = f"object {position}"
        labels.add(box.tolist(), item.labels[position], item.ignore[position], entry)
    return labels.image(item.path, item.group)


def name_of(item: ImportedImage) -> str:
    """What the image is called in rows and problems."""
    return plain_text(item.path.name, 300)
