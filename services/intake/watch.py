"""The watched folder: images that appear in it become field frames.

``python -m services.intake.watch`` runs beside the workers where ``ingest.watch_folder`` is set. An
image is taken once it and the file with its words (:mod:`services.intake.sidecars`) have stood
still for two looks, so that a file that is still being copied is left alone. What was taken in
moves to ``done/``; what cannot be, to ``rejected/`` with the reason in a text file beside it, and
is tried again when it changes there (:mod:`services.intake.refusals`): a copy may pause for longer.
A process that dies between the two does no harm: the same frame again is the same frame.

What goes wrong with one file costs the others nothing, and is said once.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from curation.formats.tree import IMAGE_SUFFIXES
from curation.kernel.errors import CurationError
from curation.kernel.files import write_json
from services import context as wiring
from services import logs
from services.config.project import Project
from services.context import Context
from services.errors import InvalidRequest, NotAllowed, ServiceError, TooLarge
from services.intake import refusals
from services.intake.file_names import free, shown
from services.intake.frames import ingest_frame
from services.intake.refusals import Shape, shape_of
from services.intake.sidecars import read_words, sidecar_of
from services.store import private
from services.store.ready_file import announce_ready
from services.troubles import Troubles

logger = logging.getLogger(__name__)

NAME = "watch"
DONE, REJECTED = "done", "rejected"
STILL_LOOKS = 2
WORDLESS_LOOKS = 5
"""Looks until an image without words is refused: the words may be copied after the image."""
EAGER_TRIES, MAX_WAIT_LOOKS = 3, 150
"""A file whose trouble may pass is tried at each look at first, then ever more seldom."""
MAX_FILE_BYTES = 256 * 2**20
"""No photograph within the limit of pixels is larger; such a file would only fill the memory."""
FOLDER = "the folder"


@dataclass(slots=True)
class Seen:
    """A file that lies in the folder.

    Attributes:
        shape: sizes and times of the image and of its words when they were last looked at.
        looks: how often in a row they were like that.
        tries: how often it was dealt with in vain.
        next_look: it is not dealt with before.
    """

    shape: Shape
    looks: int = 1
    tries: int = 0
    next_look: int = 0

    def failed(self) -> None:
        """Wait before the next try."""
        self.tries += 1
        wait = 2 ** max(0, self.tries - EAGER_TRIES)
        self.next_look = self.looks + min(wait, MAX_WAIT_LOOKS)


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
        self._troubles = Troubles(logger)
        for place in (folder, folder / DONE, folder / REJECTED):
            _make(place)
        self._refused = refusals.known(folder / REJECTED)
        self._changed: dict[Path, Seen] = {}

    @property
    def troubles(self) -> dict[str, str]:
        """Files that are tried again, by name, and why."""
        return self._troubles.now

    def look(self) -> list[Path]:
        """Take what is complete.

        Returns:
            Where the images that were dealt with lie now, in ``done/`` or ``rejected/``.

        Raises:
            OSError: the folder cannot be read; one file that cannot be is only said.
        """
        self._judge_again()
        shapes = dict(self._present())
        self._seen = {path: _again(self._seen.get(path), shape) for path, shape in shapes.items()}
        self._troubles.forget({shown(path.name) for path in self._seen})
        moved = []
        for path, seen in self._seen.items():
            if self._is_due(path, seen):
                target = self._deal_with(path, seen)
                if target is not None:
                    moved.append(target)
        return moved

    def _present(self) -> Iterator[tuple[Path, Shape]]:
        for path in sorted(self._folder.iterdir()):
            if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith((".", "~")):
                continue
            try:
                if path.is_symlink() or path.is_file():
                    yield path, shape_of(path)
            except FileNotFoundError:  # taken away while we look
                continue
            except OSError as error:
                self._troubles.met(shown(path.name), error)

    def _is_due(self, path: Path, seen: Seen) -> bool:
        if seen.looks < STILL_LOOKS or seen.looks < seen.next_look:
            return False
        return sidecar_of(path) is not None or seen.looks >= WORDLESS_LOOKS

    def _deal_with(self, path: Path, seen: Seen) -> Path | None:
        """Ingest one image and move it; None where it must be tried again."""
        try:
            reason = self._refusal(path)
            target = free(self._folder / (DONE if reason is None else REJECTED) / path.name)
            _make(target.parent)
            if reason is not None:  # said before it moves: nothing lies there without its reason
                refusals.note(target, reason, seen.shape)
                self._refused[target] = seen.shape
            self._move(path, target)
        except Exception as error:  # whatever it is, it is this file's
            if path.exists() or path.is_symlink():
                seen.failed()
                self._troubles.met(shown(path.name), error)
            return None
        self._troubles.over(shown(path.name))
        return target

    def _refusal(self, path: Path) -> str | None:
        """Ingest one image; why it cannot be, None where it could."""
        try:
            self._ingest(path)
        except (CurationError, ServiceError) as error:
            if error.retryable:
                raise
            logger.warning("refused %s: %s", shown(path.name), shown(str(error)))
            return str(error)
        except PermissionError as error:
            logger.warning("refused %s: %s", shown(path.name), error.strerror)
            return f"{path.name} cannot be read: {error.strerror}"
        logger.info("took in %s", shown(path.name))
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
        ingest_frame(
            self._context,
            path.read_bytes(),
            shown(path.name),
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

    def _move(self, path: Path, target: Path) -> None:
        """Move an image, and the words that are its own."""
        sidecar = sidecar_of(path)
        path.replace(target)
        if sidecar is not None and not self._is_shared(path, sidecar):
            sidecar.replace(target.with_name(f"{target.name}.json"))

    def _judge_again(self) -> None:
        """Put what has changed since it was refused back into the folder once it stands still."""
        changed = {}
        for path, judged in list(self._refused.items()):
            try:
                shape = shape_of(path)
                if shape == judged:
                    continue
                seen = changed[path] = _again(self._changed.get(path), shape)
                if seen.looks >= STILL_LOOKS:
                    back = free(self._folder / path.name)
                    self._move(path, back)
                    refusals.forget(path)
                    del self._refused[path]
                    logger.warning("%s changed after it was refused: tried again", shown(back.name))
            except FileNotFoundError:  # somebody has taken it away
                self._refused.pop(path, None)
            except OSError as error:
                self._troubles.met(shown(path.name), error)
        self._changed = changed


def _make(place: Path) -> None:
    """Make a folder that other users may look into: frames come from them."""
    if not place.is_dir():
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o755)


def _again(before: Seen | None, shape: Shape) -> Seen:
    if before is None or before.shape != shape:
        return Seen(shape)
    before.looks += 1
    return before


def watched_folder(context: Context) -> Path | None:
    """The folder that is set, relative to the project; None where none is."""
    folder = context.settings.ingest.watch_folder
    return None if folder is None else context.project.root / folder.expanduser()


def troubles_file(project: Project) -> Path:
    """Where the watcher says which files it tries again, and why: ``{"troubles": {name: why}}``."""
    return project.state / "watch.json"


def read_troubles(project: Project) -> dict[str, str]:
    """What the watcher said last; empty where it has said nothing."""
    try:
        said: dict[str, str] = json.loads(troubles_file(project).read_text())["troubles"]
    except (OSError, ValueError, KeyError):
        return {}
    return said


def watch(context: Context, stop: threading.Event) -> None:
    """Look at the folder until told to stop.

    Raises:
        InvalidRequest: no folder is set.
    """
    folder = watched_folder(context)
    if folder is None:
        raise InvalidRequest("no folder to watch: set ingest.watch_folder")
    watcher = Watcher(context, folder)
    announce_ready(context.project, NAME)
    troubles, said = Troubles(logger), None
    while not stop.wait(context.settings.ingest.watch_interval_s):
        try:
            watcher.look()
            if watcher.troubles != said:
                said = watcher.troubles
                write_json(troubles_file(context.project), {"troubles": said})
        except Exception as error:  # the folder is away, or the disk full: it may come back
            troubles.met(FOLDER, error)
        else:
            troubles.over(FOLDER)


def main() -> None:
    """Watch the folder of the project that the settings name."""
    private.only_ours()
    context = wiring.build()
    logs.configure(NAME, context.settings.log_level, context.project.logs, context.settings.logs)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watch(context, stop)


if __name__ == "__main__":
    main()
