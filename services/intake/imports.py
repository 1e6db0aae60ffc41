"""Importing a folder: COCO, VOC or YOLO with labels, or plain images for the pool.

One bad entry is a problem in the report and costs its neighbours nothing. An image of which one
object cannot be read is left out: without it, its labels would say that nothing is there. Importing
the same folder again adds nothing, and never undoes what people have corrected since
(:mod:`services.intake.import_truth`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from curation import formats
from curation.formats import ImportedImage
from curation.formats.one_truth import one_truth
from services.context import Context
from services.db.engine import reading
from services.db.races import in_transaction
from services.db.tables import Role
from services.errors import NotFound
from services.intake.bucket_source import Mirror
from services.intake.import_checks import notes_on_classes, own_problems, require_labels
from services.intake.import_files import ImportReport, Kept, Looks, keep
from services.intake.import_options import ImportOptions
from services.intake.import_rows import Rows
from services.intake.lookalikes import notes_on_lookalikes
from services.intake.parts import Part
from services.intake.pool import read_pool
from services.store.project_store import store_of

__all__ = ["ImportOptions", "ImportReport", "Part", "import_dataset"]

BATCH = 64
"""Images a transaction. Their files lie in the store before it begins, so that it only writes
rows and others wait for it a tenth of a second, however large the images are. The files of so many
are synced together: one by one the disk is waited for twice as long as there is work."""


@dataclass(slots=True)
class Loaded:
    """A source that was read and may be believed, and what is to be said of it.

    Attributes:
        source: folder or file.
        items: its entries.
        report: of the import.
        mirror: where the source is a copy of what lies in a bucket.
    """

    source: Path
    items: list[ImportedImage]
    report: ImportReport
    mirror: Mirror | None = None


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
    if not items and not report.problems:
        report.notes.append("nothing to import: it has no image, or none of those asked for")
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
    for place in (*truth.joined, *truth.repeated):
        owners[place].report.images_known += 1
    for one in sources:
        if count := sum(owners[place] is one for place in truth.joined):
            told = "of one picture stand in several files, a class in each: joined"
            one.report.notes.append(f"{count} entries are parts of others: the objects {told}")
        if count := sum(owners[place] is one for place in truth.repeated):
            told = "say again what another entry says of the same picture"
            one.report.notes.append(f"{count} entries {told}")


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
    looks, elsewhere = Looks(), loaded.mirror if options.keep_elsewhere else None
    for batch in _batches(loaded.items, BATCH):
        kept: list[Kept] = []
        with store_of(context).together() as group:
            for item in batch:
                entry = keep(context, item, role, looks, report, group, elsewhere)
                if entry is not None:
                    kept.append(entry)
                done += 1
                if progress is not None:
                    progress(done, len(loaded.items))
            group.finish()  # before a row names one of them
        rows = Rows(context, kept, role, options)
        report.add(in_transaction(context.sessions, rows.write))  # once they are there for good
    report.notes += looks.notes()
    with reading(context.sessions) as session:
        report.notes += notes_on_lookalikes(session, looks.hashes, role)
    return report


def _batches(items: Iterable[ImportedImage], size: int) -> Iterator[list[ImportedImage]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
