"""Importing a folder: COCO, VOC or YOLO with labels, or plain images for the pool.

One bad entry is a problem in the report and costs its neighbours nothing. An image of which one
object cannot be read is left out: without it, its labels would say that nothing is there. Importing
the same folder again adds nothing, and never undoes what people have corrected since
(:mod:`services.import_truth`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import formats
from curation.formats import ImportedImage, Problem
from services import import_truth, revisions
from services.context import Context
from services.db.engine import reading
from services.db.races import in_transaction, insert_new
from services.db.tables import EVALUATION_ROLES, Image, Observation, Role
from services.errors import InvalidRequest, NotFound
from services.import_checks import notes_on_classes, own_problems, require_labels
from services.import_files import ImportReport, Kept, keep, name_of
from services.objects import plain_text
from services.stages.requests import request_embed, request_scan
from services.storage import StoredImage

__all__ = ["ImportReport", "Part", "import_dataset"]

BATCH = 64
"""Images a transaction. Their files lie in the store before it begins, so that it only writes
rows and others wait for it a tenth of a second, however large the images are."""


@dataclass(frozen=True, slots=True)
class Part:
    """Every n-th block of consecutive frames.

    Neighbouring frames of a drive look alike: a split frame by frame would leak the answers.

    Attributes:
        number: which part, 1..count.
        count: parts in all; their images are disjoint and together everything.
        block: consecutive frames, by file name, that stay together.
    """

    number: int
    count: int
    block: int = 25

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count or self.block < 1:
            raise InvalidRequest(
                f"part {self.number}/{self.count} in blocks of {self.block}: expected 1/N to N/N, "
                "and blocks of at least 1"
            )

    def of(self, items: Sequence[ImportedImage]) -> list[ImportedImage]:
        """The items of this part."""
        ordered = sorted(items, key=lambda item: item.path.name)
        return [
            item
            for row, item in enumerate(ordered)
            if (row // self.block) % self.count == self.number - 1
        ]


def import_dataset(
    context: Context,
    source: Path,
    role: Role,
    *,
    fmt: str | None = None,
    group: str | None = None,
    min_side_px: float | None = None,
    part: Part | None = None,
    progress: Callable[[int, int], None] | None = None,
    report: ImportReport | None = None,
    replace_corrections: bool = False,
) -> ImportReport:
    """Bring a folder or an annotation file into the project.

    An import that breaks off leaves files without a row at most; the next one takes them up.

    Args:
        context: wiring.
        source: a COCO, VOC or YOLO folder, a COCO file, or for the pool a folder of images.
        role: what the images may be used for. Labels of pool images are not stored: the pool is
            unlabelled by definition.
        fmt: ``coco``, ``voc``, ``yolo`` or ``images``; None: found out.
        group: of all images, instead of what the format says.
        min_side_px: boxes with a shorter side become ignore regions; None: the setting.
        part: only these blocks of consecutive frames; None: all.
        progress: told images done and images in all.
        report: to be filled; whoever gives one knows what is stored if the import breaks off.
        replace_corrections: whether the source's labels take the place of a person's, too.

    Raises:
        NotFound: there is no such folder.
        InvalidRequest: the role needs labels and the folder has none, or none of a known class.
        AnnotationsInvalid: the annotation file cannot be read, or is wrong as a whole.
        DiskFull: there is no space.
    """
    if not source.exists():
        raise NotFound(f"{source} does not exist")
    ignore_below = context.settings.ingest.ignore_below_px if min_side_px is None else min_side_px
    imported = formats.load(source, fmt=fmt, min_side_px=ignore_below)
    require_labels(imported, role, str(source))
    items = imported.items if part is None else part.of(imported.items)
    report = ImportReport() if report is None else report
    with reading(context.sessions) as session:
        report.notes += [*imported.notes, *notes_on_classes(session, items, role, str(source))]
    report.problems += own_problems(imported, role)
    seen: set[str] = set()
    done = 0
    for batch in _batches(items, BATCH):
        kept: list[Kept] = []
        for item in batch:
            entry = keep(context, item, role, seen, report)
            if entry is not None:
                kept.append(entry)
            done += 1
            if progress is not None:
                progress(done, len(items))
        rows = _Rows(context, kept, role, group, replace_corrections)
        report.add(in_transaction(context.sessions, rows.write))  # once they are there for good
    return report


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of images whose files are in the store; nothing slow belongs here.

    Attributes:
        context: wiring.
        kept: the images and their entries.
        role: what they may be used for.
        group: of all, instead of what the format says.
        replace_corrections: see :func:`import_dataset`.
    """

    context: Context
    kept: Sequence[Kept]
    role: Role
    group: str | None
    replace_corrections: bool

    def write(self, session: Session) -> ImportReport:
        """Write them; what that did."""
        report = ImportReport()
        rows = {image.id: self._row(image, item) for image, item in self.kept}
        fresh = {key[0] for key in insert_new(session, Image, list(rows.values()), ("id",))}
        held = revisions.hold_images(session, rows)  # the same images at once: one by one
        items = {
            image.id: item
            for image, item in self.kept
            if _admissible(held[image.id].role, self.role, name_of(item), report)
        }
        report.images_added, report.images_known = len(fresh), len(items.keys() - fresh)
        if self.role == Role.POOL:
            batch = self.context.settings.selection.batch_images
            request_embed(session, sorted(fresh), batch)
            return report
        report.boxes = sum(len(item.labels) for item in items.values())
        counting = import_truth.store(
            session, items, report, replace_corrections=self.replace_corrections
        )
        if self.role == Role.FIELD:
            _observe(session, counting)
        return report

    def _row(self, image: StoredImage, item: ImportedImage) -> dict[str, Any]:
        return {
            "id": image.id,
            "role": self.role,
            "file": image.file,
            "name": name_of(item),
            "width_px": image.width_px,
            "height_px": image.height_px,
            "perceptual_hash": image.perceptual_hash,
            "group": plain_text(self.group if self.group is not None else item.group, 120),
        }


def _admissible(stored: str, wanted: Role, name: str, report: ImportReport) -> bool:
    """An image has one role; evaluation images above all must never be trained on."""
    if stored == wanted:
        return True
    advice = "it stays there"
    if stored in EVALUATION_ROLES or wanted in EVALUATION_ROLES:
        advice = "an evaluation image must not be trained on; it stays there"
    elif (stored, wanted) == (Role.POOL, Role.SEED):
        advice += "; `e2x labels import --replace` puts a wrong answer about it right"
    told = f"is in role {stored} already: {advice}"
    report.problems.append(Problem(name, told, "nothing"))
    return False


def _observe(session: Session, revisions: dict[str, int]) -> None:
    """Ask for a look at each field image, and for another where its truth has changed."""
    known = {
        row.image_id: row
        for row in session.scalars(
            select(Observation).where(Observation.image_id.in_(list(revisions)))
        )
    }
    for image_id, revision in revisions.items():
        if image_id not in known:
            session.add(Observation(image_id=image_id, has_truth=True, reporter="import"))
        else:
            known[image_id].has_truth = True
        request_scan(session, image_id, f"r{revision}" if revision > 1 else "")


def _batches(items: Iterable[ImportedImage], size: int) -> Iterator[list[ImportedImage]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
