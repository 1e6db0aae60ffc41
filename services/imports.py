"""Importing a folder: COCO, VOC or YOLO with labels, or plain images for the pool.

One bad entry is a problem in the report and costs its neighbours nothing. An image of which one
object cannot be read is left out: without it, its labels would say that nothing is there. Importing
the same folder again adds nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import formats
from curation.formats import ImportedImage, Problem
from curation.formats.one_truth import one_truth
from curation.formats.splits import Purpose
from services.context import Context
from services.db.engine import reading
from services.db.tables import EVALUATION_ROLES, Annotation, Image, Observation, Role
from services.errors import NotFound
from services.import_checks import notes_on_classes, own_problems, require_labels
from services.import_files import ImportReport, Kept, Looks, keep, name_of
from services.import_lookalikes import notes_on_lookalikes
from services.import_parts import Part
from services.import_pool import read_pool
from services.objects import plain_text
from services.rows import latest_annotations
from services.stages.requests import request_embed, request_scan

__all__ = ["ImportOptions", "ImportReport", "Part", "import_dataset", "objects_of"]

BATCH = 64
"""Images a transaction. Their files lie in the store before it begins, so that it only writes
rows and others wait for it a tenth of a second, however large the images are."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a person said of an import beside its sources and their role.

    Attributes:
        fmt: ``coco``, ``voc``, ``yolo`` or ``images``; None: found out.
        group: of all images, instead of what the format says.
        min_side_px: boxes with a shorter side become ignore regions; None: the setting.
        part: only these blocks of consecutive frames; None: all.
        images: the folder in which the pictures of an annotation file lie, where it is not its
            own.
        splits: names of the splits to take; empty: those that the role may have.
        class_names: of files that only have numbers; see :class:`curation.formats.ReadOptions`.
        enclose_rotated: whether rotated rectangles become the upright boxes around them.
        clip: whether boxes that leave their picture are cut at its border.
    """

    fmt: str | None = None
    group: str | None = None
    min_side_px: float | None = None
    part: Part | None = None
    images: Path | None = None
    splits: tuple[str, ...] = ()
    class_names: tuple[str | None, ...] | None = None
    enclose_rotated: bool = False
    clip: bool = False

    def reading(self, role: Role) -> formats.ReadOptions:
        """What a reader has to know of it."""
        return formats.ReadOptions(
            images=self.images,
            splits=formats.SplitChoice(self.splits, PURPOSES[role]),
            class_names=self.class_names,
            enclose_rotated=self.enclose_rotated,
            clip=self.clip,
        )


PURPOSES: dict[Role, Purpose] = {
    Role.SEED: "train",
    Role.POOL: "everything",
    Role.FIELD: "ask",
    Role.HOLDOUT: "evaluate",
    Role.SIBLINGS: "ask",
}
"""What becomes of the splits of a set where nobody names one: what is held out there is never
trained on here, and where either would be a guess, a person is asked."""


@dataclass(slots=True)
class Loaded:
    """A source that was read and may be believed, and what is to be said of it."""

    source: Path
    items: list[ImportedImage]
    report: ImportReport


def import_dataset(
    context: Context,
    source: Path,
    role: Role,
    options: ImportOptions = ImportOptions(),
    *,
    progress: Callable[[int, int], None] | None = None,
    report: ImportReport | None = None,
) -> ImportReport:
    """Bring a folder or an annotation file into the project.

    An import that breaks off leaves files without a row at most; the next one takes them up.

    Args:
        context: wiring.
        source: a COCO, VOC or YOLO folder, an annotation file, or for the pool a folder of images.
        role: what the images may be used for. Labels of pool images are not stored: the pool is
            unlabelled by definition.
        options: what else was said.
        progress: told images done and images in all.
        report: to be filled; whoever gives one knows what is stored if the import breaks off.

    Raises:
        NotFound: there is no such folder.
        InvalidRequest: the role needs labels and the folder has none, or none of a known class.
        AnnotationsInvalid: the annotation file cannot be read, or is wrong as a whole.
        DiskFull: there is no space.
    """
    loaded = load_source(context, source, role, options, report)
    agree([loaded], role)
    return store(context, loaded, role, options, progress)


def load_source(
    context: Context,
    source: Path,
    role: Role,
    options: ImportOptions,
    report: ImportReport | None = None,
) -> Loaded:
    """Read a source; nothing is stored yet. Args and errors as of :func:`import_dataset`."""
    for named in (source, options.images):
        if named is not None and not named.exists():
            raise NotFound(f"{named} does not exist")
    said = options.min_side_px
    ignore_below = context.settings.ingest.ignore_below_px if said is None else said
    reading_options = options.reading(role)
    if role == Role.POOL:
        imported = read_pool(source, options.fmt, reading_options)
    else:
        imported = formats.load(source, options.fmt, ignore_below, reading_options)
        require_labels(imported, role, source)
    items = imported.items if options.part is None else options.part.of(imported.items)
    report = ImportReport() if report is None else report
    with reading(context.sessions) as session:
        report.notes += [*imported.notes, *notes_on_classes(session, items, role, str(source))]
    report.problems += own_problems(imported, role)
    return Loaded(source, list(items), report)


def agree(sources: Sequence[Loaded], role: Role) -> None:
    """See to it that each picture has one truth in all the sources of one import.

    Args:
        sources: are left with the entries that may be stored, and are told of the others.
        role: of all; pool images have no truth that could differ.
    """
    if role == Role.POOL:
        return
    owners = [one for one in sources for _ in one.items]
    items = [
        replace(item, annotated_in=item.annotated_in or str(one.source))
        for one in sources
        for item in one.items
    ]
    truth = one_truth(items)
    for one in sources:
        one.items = []
    for place, item in truth.items:
        owners[place].items.append(item)
    for place, problem in truth.problems.items():
        owners[place].report.problems.append(problem)
    if truth.joined:
        told = "the objects of one picture stand in several files, a class in each: joined"
        sources[0].report.notes.append(f"{truth.joined} entries were parts of others: {told}")
    if truth.repeated:
        sources[0].report.notes.append(
            f"{truth.repeated} entries say again what another says of the same picture"
        )


def store(
    context: Context,
    loaded: Loaded,
    role: Role,
    options: ImportOptions,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Bring what was read into the project.

    Raises:
        DiskFull: there is no space; the report of ``loaded`` says what is stored all the same.
    """
    report, done = loaded.report, 0
    looks = Looks()
    for batch in _batches(loaded.items, BATCH):
        kept: list[Kept] = []
        for item in batch:
            entry = keep(context, item, role, looks, report)
            if entry is not None:
                kept.append(entry)
            done += 1
            if progress is not None:
                progress(done, len(loaded.items))
        stored = ImportReport()  # counts once the rows are there for good
        with context.sessions.begin() as session:
            _write_rows(session, context, kept, role, options.group, stored)
        report.add(stored)
    report.notes += looks.notes()
    with reading(context.sessions) as session:
        report.notes += notes_on_lookalikes(session, looks.hashes, role)
    return report


def _write_rows(
    session: Session,
    context: Context,
    kept: Sequence[Kept],
    role: Role,
    group: str | None,
    report: ImportReport,
) -> None:
    """Rows of images whose files are in the store; nothing slow belongs here."""
    stored: dict[str, tuple[Image, ImportedImage]] = {}
    for image, item in kept:
        row = Image(
            id=image.id,
            role=role,
            file=image.file,
            name=name_of(item),
            width_px=image.width_px,
            height_px=image.height_px,
            perceptual_hash=image.perceptual_hash,
            group=plain_text(group if group is not None else item.group, 120),
        )
        if _admissible(session, row, report):
            stored[image.id] = (row, item)
    fresh = _insert_images(session, [row for row, _ in stored.values()], report)
    if role == Role.POOL:
        request_embed(session, sorted(fresh), context.settings.selection.batch_images)
        return
    revisions = {}
    for image_id, (_, item) in stored.items():
        revisions[image_id] = _annotate(session, image_id, item)
        report.boxes += len(item.labels)
        report.ignored += sum(item.ignore)
        report.empty += not item.labels
        report.unlabelled += item.unlabelled
    if role == Role.FIELD:
        _observe(session, revisions)


def _admissible(session: Session, row: Image, report: ImportReport) -> bool:
    """An image has one role; evaluation images above all must never be trained on."""
    known = session.get(Image, row.id)
    if known is None or known.role == row.role:
        return True
    advice = "it stays there"
    if known.role in EVALUATION_ROLES or row.role in EVALUATION_ROLES:
        advice = "an evaluation image must not be trained on; it stays there"
    elif (known.role, row.role) == (Role.POOL, Role.SEED):
        advice += "; `e2x labels import --replace` puts a wrong answer about it right"
    told = f"is in role {known.role} already: {advice}"
    report.problems.append(Problem(row.name, told, "nothing"))
    return False


def _insert_images(session: Session, rows: list[Image], report: ImportReport) -> set[str]:
    known = set(session.scalars(select(Image.id).where(Image.id.in_([row.id for row in rows]))))
    fresh = [row for row in rows if row.id not in known]
    session.add_all(fresh)
    session.flush()
    report.images_added += len(fresh)
    report.images_known += len(known)
    return {row.id for row in fresh}


def _annotate(session: Session, image_id: str, item: ImportedImage) -> int:
    """Store the labels as a revision of their own, unless they are what is there already.

    Returns:
        The revision that counts now.
    """
    objects = objects_of(item)
    latest = latest_annotations(session, [image_id]).get(image_id)
    if latest is not None and latest.objects == objects:
        return latest.revision
    revision = 1 if latest is None else latest.revision + 1
    session.add(Annotation(image_id=image_id, revision=revision, objects=objects))
    session.flush()
    return revision


def objects_of(item: ImportedImage) -> list[dict[str, Any]]:
    """Labels of an imported image as they are stored."""
    return [
        {"box": [round(float(v), 2) for v in box], "label": label, "ignore": bool(ignore)}
        for box, label, ignore in zip(item.boxes_xyxy, item.labels, item.ignore, strict=True)
    ]


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
