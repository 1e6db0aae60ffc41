"""The watched folder: images that appear in it become field frames.

``python -m services.watch`` runs beside the workers where ``ingest.watch_folder`` is set. An image
is taken once it and the file with its words (:mod:`services.sidecars`) have stood still for two
looks, so that a file that is still being copied is left alone. What was taken in moves to
``done/``; what cannot be, to ``rejected/`` with the reason in a text file beside it. A process that
dies between the two does no harm: the same frame again is the same frame.
"""

from __future__ import annotations

import logging
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from curation.errors import CurationError
from curation.formats.base import IMAGE_SUFFIXES
from services import context as wiring
from services import logs
from services.context import Context
from services.errors import InvalidRequest, NotAllowed, ServiceError, TooLarge
from services.ingest import ingest_frame
from services.plain import visible
from services.sidecars import read_words, sidecar_of
from services.storage import write_bytes
from services.worker import lifecycle

logger = logging.getLogger(__name__)

NAME = "watch"
DONE, REJECTED = "done", "rejected"
STILL_LOOKS = 2
WORDLESS_LOOKS = 5
"""Looks until an image without words is refused: the words may be copied after the image."""
MAX_FILE_BYTES = 256 * 2**20
"""No photograph within the limit of pixels is larger; such a file would only fill the memory."""

Shape = tuple[int, ...]


@dataclass(slots=True)
class Seen:
    """A file that lies in the folder.

    Attributes:
        shape: sizes and times of the image and of its words when they were last looked at.
        looks: how often in a row they were like that.
    """

    shape: Shape
    looks: int = 1


class Watcher:
    """Takes images out of a folder; :meth:`look` is called again and again.

    Args:
        context: wiring.
        folder: is made where it is missing; only files directly in it count.
    """

    def __init__(self, context: Context, folder: Path) -> None:
        self._context = context
        self._folder = folder
        self._seen: dict[Path, Seen] = {}
        for place in (folder, folder / DONE, folder / REJECTED):
            place.mkdir(parents=True, exist_ok=True)

    def look(self) -> list[Path]:
        """Take what is complete.

        Returns:
            Where the images that were dealt with lie now, in ``done/`` or ``rejected/``.
        """
        self._seen = {path: self._again(path, shape) for path, shape in self._present().items()}
        moved = []
        for path, seen in self._seen.items():
            wordless = sidecar_of(path) is None
            if seen.looks < (WORDLESS_LOOKS if wordless else STILL_LOOKS):
                continue
            target = self._deal_with(path)
            if target is not None:
                moved.append(target)
        return moved

    def _present(self) -> dict[Path, Shape]:
        shapes = {}
        for path in sorted(self._folder.iterdir()):
            if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith((".", "~")):
                continue
            try:
                if path.is_symlink() or path.is_file():
                    shapes[path] = _shape(path)
            except FileNotFoundError:  # taken away while we look
                continue
        return shapes

    def _again(self, path: Path, shape: Shape) -> Seen:
        before = self._seen.get(path)
        looks = before.looks + 1 if before is not None and before.shape == shape else 1
        return Seen(shape, looks)

    def _deal_with(self, path: Path) -> Path | None:
        """Ingest one image and move it; None where it must be tried again."""
        try:
            reason = self._refusal(path)
            return self._move(path, DONE) if reason is None else self._reject(path, reason)
        except FileNotFoundError:  # taken away while we look
            return None
        except (CurationError, ServiceError, DBAPIError, OSError) as error:
            logger.warning("%s is tried again: %s", path.name, error)
            return None

    def _refusal(self, path: Path) -> str | None:
        """Ingest one image; why it cannot be, None where it could."""
        try:
            self._ingest(path)
        except (CurationError, ServiceError) as error:
            if error.retryable:
                raise
            logger.warning("refused %s: %s", path.name, error)
            return str(error)
        except PermissionError as error:
            return f"{path.name} cannot be read: {error.strerror}"
        logger.info("took in %s", path.name)
        return None

    def _ingest(self, path: Path) -> None:
        if path.is_symlink():
            raise NotAllowed(f"{path.name} is a link: copy the file itself")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise TooLarge(f"{path.name}: over {MAX_FILE_BYTES // 2**20} MiB")
        sidecar = sidecar_of(path)
        if sidecar is not None and sidecar.is_symlink():
            raise NotAllowed(f"{sidecar.name} is a link: copy the file itself")
        if sidecar is not None and self._is_shared(path, sidecar):
            raise InvalidRequest(
                f"{sidecar.name} stands beside several images: call it {path.name}.json"
            )
        words = read_words(path)
        with self._context.sessions.begin() as session:
            ingest_frame(
                session,
                self._context,
                path.read_bytes(),
                path.name,
                objects=words.objects,
                reports=words.reports,
                reporter=words.reporter or NAME,
                group=words.group,
                source="watched folder",
                said_wh=words.size_wh,
            )

    def _is_shared(self, path: Path, sidecar: Path) -> bool:
        """Whether ``a.json`` lies beside both ``a.jpg`` and ``a.png``."""
        if sidecar.name == f"{path.name}.json":
            return False
        return any(other.stem == path.stem and other != path for other in self._seen)

    def _reject(self, path: Path, reason: str) -> Path:
        moved = self._move(path, REJECTED)
        write_bytes(moved.with_name(f"{moved.name}.txt"), f"{visible(reason)}\n".encode())
        return moved

    def _move(self, path: Path, place: str) -> Path:
        """Move an image, and the words that are its own, under a name that is free there."""
        sidecar = sidecar_of(path)
        target = _free(self._folder / place / path.name)
        path.replace(target)
        if sidecar is not None and not self._is_shared(path, sidecar):
            sidecar.replace(target.with_name(f"{target.name}.json"))
        return target


def _shape(path: Path) -> Shape:
    files = [path, sidecar_of(path)]
    found = [file.lstat() for file in files if file is not None]
    return tuple(value for stat in found for value in (stat.st_size, stat.st_mtime_ns))


def _free(path: Path) -> Path:
    """The path, or one with a number where that is taken."""
    number, free = 1, path
    while free.exists():
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return free


def watched_folder(context: Context) -> Path | None:
    """The folder that is set, relative to the project; None where none is."""
    folder = context.settings.ingest.watch_folder
    return None if folder is None else context.project.root / folder.expanduser()


def watch(context: Context, stop: threading.Event) -> None:
    """Look at the folder until told to stop.

    Raises:
        InvalidRequest: no folder is set.
    """
    folder = watched_folder(context)
    if folder is None:
        raise InvalidRequest("no folder to watch: set ingest.watch_folder")
    watcher = Watcher(context, folder)
    lifecycle.announce_ready(context.project, NAME)
    while not stop.wait(context.settings.ingest.watch_interval_s):
        watcher.look()


def main() -> None:
    """Watch the folder of the project that the settings name."""
    context = wiring.build()
    logs.configure(NAME, context.settings.log_level, context.project.logs)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watch(context, stop)


if __name__ == "__main__":
    main()
