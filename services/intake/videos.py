"""Frames of a video into the project, from where the last command broke off.

Which frames came in stands in ``state/videos``, a file for each video and way of taking frames.
It is believed only where the images that it names are still in the project, so that a database
that was put back to an earlier day gets its frames again. Without it nothing is doubled either:
the same frame has the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from sqlalchemy import func, select

from curation.formats import ImportedImage, Problem
from curation.formats.standing import MAX_DISTANCE, SIDE, Standing
from curation.formats.video import Reading, clock, frames, next_stretch_s
from curation.kernel.files import write_json
from curation.kernel.images import encode_jpeg
from services.config import builders
from services.context import Context
from services.db.engine import reading
from services.db.parts import in_parts
from services.db.races import in_transaction
from services.db.tables import Image, Role
from services.intake.import_files import ImportReport, Kept, Looks
from services.intake.import_options import ImportOptions
from services.intake.import_rows import Rows
from services.intake.lookalikes import notes_on_lookalikes
from services.intake.objects import plain_text
from services.store.project_store import store_of
from services.store.storage import check_image, keep_image

BATCH = 64
"""Frames a transaction, as of an import."""
QUALITY = 95
"""Of the JPEG files: what a camera's coder has lost is more."""
ENDS_BYTES = 2**20
FOLDER = "videos"


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """How frames are taken.

    Attributes:
        every_s: one of each stretch of so many seconds.
        keep_alike: also frames that show what the one before them does.
        group: of all frames; None: the file's name.
    """

    every_s: float = 1.0
    keep_alike: bool = False
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that is to be kept.

    Attributes:
        name: of the file, with its time.
        time_s: in the video.
        data: bytes of a JPEG file.
    """

    name: str
    time_s: float
    data: bytes


@dataclass(slots=True)
class Note:
    """How far the frames of a video have come in.

    Attributes:
        images: ids of those that are stored.
        next_s: nothing before this time is needed any more.
        alike: frames that were left out since they show what the one before does.
        last_hash: perceptual hash of the frame kept last.
        last_thumbnail: what :class:`Standing` compares with, hex.
        damages: what could not be read until there.
        finished: all of it is in.
    """

    images: list[str] = field(default_factory=list)
    next_s: float = 0.0
    alike: int = 0
    last_hash: int | None = None
    last_thumbnail: str = ""
    damages: list[str] = field(default_factory=list)
    finished: bool = False


class Film:
    """One video, and which of its frames are in the project.

    Args:
        context: wiring.
        path: the file.
        role: what its frames may be used for.
        options: how they are taken.
        progress: is told seconds done, and seconds in all where the file says that.

    Raises:
        OSError: the file cannot be read.
    """

    def __init__(
        self,
        context: Context,
        path: Path,
        role: Role,
        options: VideoOptions,
        progress: Callable[[float, float | None], None] | None = None,
    ) -> None:
        self._context, self._path, self._options = context, path, options
        self._progress = progress
        mark = fingerprint(path)
        self.name = f"{plain_text(path.stem, 80) or 'video'}-{mark}"
        self.group = self.name if options.group is None else options.group
        kept = "all" if options.keep_alike else "new"
        way = f"{mark}-{role}-{round(options.every_s * 1000)}ms-{kept}"
        self._file = context.project.state / FOLDER / f"{way}.json"
        self.note = self._believed(_read(self._file), role)
        self.resumed_s = self.note.next_s
        self.reading = Reading()

    def batches(self, size: int = BATCH) -> Iterator[list[Frame]]:
        """Frames that are not in yet, some at a time; :meth:`keep` says that they came in.

        Raises:
            VideoUnreadable: there is no frame to be had.
        """
        if self.note.finished:
            return
        standing = self._standing()
        limits = builders.image_limits(self._context.settings)
        batch: list[Frame] = []
        found = frames(
            self._path,
            self._options.every_s,
            self.reading,
            start_s=self.note.next_s,
            limits=limits,
        )
        for one in found:
            if standing.is_new(one.image):
                name = f"{self.name}-{clock(one.time_s)}.jpg"
                batch.append(Frame(name, one.time_s, encode_jpeg(one.image, QUALITY)))
            else:
                self.note.alike += 1
            self._move_on(one.time_s, standing)
            if len(batch) == size:
                yield batch
                batch = []
            if self._progress is not None:
                self._progress(one.time_s, self.reading.duration_s)
        yield batch
        self.note.finished = True
        self.save()

    def keep(self, image_ids: Sequence[str]) -> None:
        """Note that the frames of the last batch are in the project, with these ids."""
        self.note.images += image_ids
        self.save()

    def save(self) -> None:
        """Write down how far it has come."""
        self.note.damages = self.damages()
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(self._file, asdict(self.note))

    def damages(self) -> list[str]:
        """What could not be read, in this and in earlier commands."""
        told = [one.message for one in self.reading.damages]
        return [*self.note.damages, *(one for one in told if one not in self.note.damages)]

    def notes(self) -> list[str]:
        """What a person should know of it."""
        told = list(self.reading.notes)
        if self.resumed_s and not self.reading.decoded:
            told.append(f"all its frames came in before: {len(self.note.images)}")
        elif self.resumed_s:
            told.append(f"goes on from {clock(self.resumed_s)}, where the last command broke off")
        if self.note.alike:
            told.append(
                f"{self.note.alike} frames show what the one before them does and were left out "
                "(--keep-alike takes them too)"
            )
        return told

    def _move_on(self, time_s: float, standing: Standing) -> None:
        thumbnail = standing.last_thumbnail
        self.note.next_s = next_stretch_s(time_s, self._options.every_s)
        self.note.last_hash = standing.last_hash
        self.note.last_thumbnail = "" if thumbnail is None else thumbnail.tobytes().hex()

    def _standing(self) -> Standing:
        bits = -1 if self._options.keep_alike else MAX_DISTANCE
        kept = bytes.fromhex(self.note.last_thumbnail)
        small = np.frombuffer(kept, np.uint8).reshape(SIDE, SIDE) if kept else None
        return Standing(bits, self.note.last_hash, small)

    def _believed(self, note: Note, role: Role) -> Note:
        wanted, there = set(note.images), 0
        with reading(self._context.sessions) as session:
            for some in in_parts(sorted(wanted)):
                query = select(func.count()).where(Image.id.in_(some), Image.role == role)
                there += session.scalar(query) or 0
        return note if there == len(wanted) else Note()


def fingerprint(path: Path) -> str:
    """8 hex digits of a file's length and its two ends: of gigabytes the rest takes too long.

    Raises:
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(ENDS_BYTES))
        file.seek(max(0, size - ENDS_BYTES))
        digest.update(file.read(ENDS_BYTES))
    return digest.hexdigest()[:8]


def import_video(
    context: Context,
    path: Path,
    options: VideoOptions,
    progress: Callable[[float, float | None], None] | None = None,
    report: ImportReport | None = None,
) -> ImportReport:
    """Bring the frames of a video into the pool.

    Args:
        context: wiring.
        path: the file.
        options: how frames are taken.
        progress: is told seconds done, and seconds in all where the file says that.
        report: to be filled; whoever gives one knows what is stored if it breaks off.

    Raises:
        VideoUnreadable: there is no frame to be had.
        DiskFull: there is no space; what is stored stays, and the next command goes on from there.
        OSError: the file cannot be read.
    """
    report = ImportReport() if report is None else report
    film, looks = Film(context, path, Role.POOL, options, progress), Looks()
    report.images_known += len(film.note.images)
    limits = builders.image_limits(context.settings)
    for batch in film.batches():
        kept: list[Kept] = []
        with store_of(context).together() as group:
            for frame in batch:
                image = check_image(frame.data, limits, frame.name)
                keep_image(context, image, frame.data, group)
                looks.add(image, frame.data)
                size = (image.width_px, image.height_px)
                kept.append((image, _unlabelled(frame.name, size, film.group)))
            group.finish()
        rows = Rows(context, kept, Role.POOL, ImportOptions())
        report.add(in_transaction(context.sessions, rows.write))
        film.keep([image.id for image, _ in kept])
    report.problems += [Problem(path.name, told, "image") for told in film.damages()]
    report.notes += film.notes()
    with reading(context.sessions) as session:
        report.notes += notes_on_lookalikes(session, looks.hashes, Role.POOL)
    return report


def _unlabelled(name: str, size_wh: tuple[int, int], group: str) -> ImportedImage:
    nothing = np.zeros((0, 4), np.float32)
    return ImportedImage(Path(name), *size_wh, nothing, (), (), group, unlabelled=True)


def _read(file: Path) -> Note:
    try:
        return Note(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return (
            Note()
        )  # there is none, or one of another version: the frames are known by their bytes


_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h)?")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, None: 1.0}


def seconds_of(text: str) -> float:
    """Seconds of a text such as ``1s``, ``500ms``, ``0.5`` or ``2m``.

    Raises:
        ValueError: it is none, or below a millisecond.
    """
    found = _TIME.fullmatch(text.strip().lower())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if seconds < 1e-3:
        raise ValueError(f"{text!r} is no time such as 1s, 500ms or 2m")
    return seconds
