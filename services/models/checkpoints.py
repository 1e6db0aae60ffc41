"""The checkpoint of a running training in the store: what another host goes on from.

The process that trains writes its resume file into its own folder, after every epoch. Where the
store is a place of its own, that file goes there too, under a new name each time, and a small note
says which counts, and for whom. The note is changed by compare-and-swap, and knows the lease of
who trains: a host that was cut off for longer than that cannot put its epochs over those of the
host that has gone on in its place, however late it comes back.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curation.kernel.files import temporary_beside, write_atomically
from services.errors import LeaseLost, ToolUnavailable
from services.store.objects import ObjectChanged, ObjectExists, Objects

logger = logging.getLogger(__name__)

RESUME_FILE = "model/resume.pt"
"""Within a run, see :mod:`retrain.job`."""
AGAIN_S = 10.0
"""Between two tries where the store did not take a checkpoint."""
Fence = tuple[int, int]
"""Unit and token: of two that train the same, the later claim has the greater."""


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of a run.

    Attributes:
        fence: who may write.
        job: hash of all that its weights follow from.
        key: of the newest checkpoint; "" for none.
        sha256: of its bytes.
        done: what came of it, once it has ended.
    """

    fence: Fence
    job: str
    key: str = ""
    sha256: str = ""
    done: Mapping[str, Any] | None = None

    def to_bytes(self) -> bytes:
        """As it is stored."""
        return json.dumps(
            {
                "fence": list(self.fence),
                "job": self.job,
                "key": self.key,
                "sha256": self.sha256,
                "done": None if self.done is None else dict(self.done),
            }
        ).encode()


class Checkpoints:
    """Of one run, by one claim on it.

    Args:
        objects: the store.
        run: its folder on this host.
        fence: the claim.
        job: all that the weights follow from, as JSON can tell it.
    """

    def __init__(self, objects: Objects, run: Path, fence: Fence, job: Mapping[str, Any]) -> None:
        text = json.dumps(job, sort_keys=True, default=str)
        self._objects = objects
        self._folder = f"runs/{run.name}"
        self._file = run / RESUME_FILE
        self._note = Note(fence, hashlib.sha256(text.encode()).hexdigest())
        self._etag = ""
        self._sent: tuple[int, int] | None = None
        self._sending: Future[None] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._not_before = 0.0

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self) -> Mapping[str, Any] | None:
        """Become who writes, and bring the newest checkpoint here.

        Returns:
            What came of the run, where another host has ended it already.

        Raises:
            LeaseLost: a later claim has it.
            StoreUnavailable: the store does not answer.
        """
        while True:
            found, etag = self._read()
            if found is not None and found.fence > self._note.fence:
                raise LeaseLost(f"{self._folder} is trained under a later lease")
            mine = self._note
            if found is not None and found.job == mine.job:
                mine = replace(found, fence=mine.fence)
            try:
                self._etag = self._write(mine, etag)
            except (ObjectChanged, ObjectExists):
                continue
            if found is not None and found.key and mine.key != found.key:
                self._objects.delete(found.key)  # of other labels or settings
            self._note = mine
            break
        if self._note.done is None and self._note.key:
            self._bring()
        return self._note.done

    def beat(self) -> None:
        """Send the resume file if there is a new one; beside the training, one at a time.

        Raises:
            LeaseLost: a later claim has the run.
        """
        if self._sending is not None and self._sending.done():
            sending, self._sending = self._sending, None
            try:
                sending.result()
            except (ToolUnavailable, OSError) as error:
                self._sent, self._not_before = None, time.monotonic() + AGAIN_S
                logger.warning("the last epoch is on this host alone, so far: %s", error)
        if self._sending is not None or time.monotonic() < self._not_before:
            return
        with suppress(FileNotFoundError):
            stat = self._file.stat()
            if (stat.st_mtime_ns, stat.st_ino) != self._sent:
                self._sent = stat.st_mtime_ns, stat.st_ino
                self._sending = self._pool.submit(self._send)

    def end(self, done: Mapping[str, Any]) -> None:
        """Note what came of the run; its checkpoint goes.

        Raises:
            LeaseLost: a later claim has the run.
            StoreUnavailable: the store does not answer.
        """
        if self._sending is not None:
            with suppress(ToolUnavailable, OSError):
                self._sending.result()
        old = self._note.key
        self._swap(replace(self._note, key="", sha256="", done=done))
        if old:
            self._objects.delete(old)

    def _send(self) -> None:
        held = temporary_beside(self._file)
        try:
            os.link(self._file, held)  # the next epoch's takes the name, and not the bytes
            with held.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest == self._note.sha256:
                return
            key = f"{self._folder}/resume-{secrets.token_hex(8)}.pt"
            self._objects.put(key, held)
        except FileNotFoundError:  # the run has just ended
            return
        finally:
            held.unlink(missing_ok=True)
        old = self._note.key
        try:
            self._swap(replace(self._note, key=key, sha256=digest))
        except LeaseLost:
            self._objects.delete(key)
            raise
        if old:
            self._objects.delete(old)

    def _bring(self) -> None:
        """The newest checkpoint as this host's resume file; without it, what is here goes on."""
        key, wanted = self._note.key, self._note.sha256
        try:
            with self._file.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == wanted:
                    return
        except FileNotFoundError:
            logger.info("the training goes on from %s", key)

        def fill(file: Path) -> None:
            self._objects.fetch(key, file)
            with file.open("rb") as filled:
                if hashlib.file_digest(filled, "sha256").hexdigest() != wanted:
                    raise FileNotFoundError(f"{key} was changed")

        try:
            write_atomically(self._file, fill)
        except (FileNotFoundError, ObjectChanged) as error:
            logger.warning("the checkpoint in the store cannot be used: %s", error)

    def _read(self) -> tuple[Note | None, str]:
        try:
            data, entry = self._objects.get(self._key)
        except FileNotFoundError:
            return None, ""
        try:
            found = json.loads(data)
            unit, token = found["fence"]
            fence = int(unit), int(token)
            note = Note(fence, found["job"], found["key"], found["sha256"], found["done"])
            return note, entry.etag
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("%s is damaged, the training begins anew: %s", self._key, error)
            return None, entry.etag

    def _write(self, note: Note, etag: str) -> str:
        if not etag:
            return self._objects.create(self._key, note.to_bytes())
        return self._objects.swap(self._key, note.to_bytes(), etag)

    def _swap(self, note: Note) -> None:
        try:
            self._etag = self._write(note, self._etag)
        except ObjectChanged as error:
            found, etag = self._read()
            if found != note:
                raise LeaseLost(f"{self._folder} is trained under a later lease") from error
            self._etag = etag  # ours: its answer was lost on the way
        self._note = note

    @property
    def _key(self) -> str:
        return f"{self._folder}/checkpoint.json"
