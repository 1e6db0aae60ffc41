"""Where registered models lie: a folder of objects each, whole before a row names it."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from curation.kernel.files import temporary_beside
from services.context import Context
from services.store.objects import ObjectLost
from services.store.project_store import ProjectStore, store_of

LAST = "config.json"
"""Names the version of the weights beside it: what it is written after is all there."""
LAST_OF = {"models": LAST, "generators": "bridge.safetensors"}
"""The same of whatever is kept likewise, by its place."""
REPORTS = "report-"
"""Beginning of what is found out about a model later, beside it."""


def keep(
    context: Context, model_id: str, write: Callable[[Path], object], place: str = "models"
) -> str:
    """Write a model to its lasting place, whole or not at all; twice is once.

    Args:
        context: wiring.
        model_id: 64 hex digits.
        write: given a folder that does not exist yet, makes it.
        place: folder of the store.

    Returns:
        The place, relative to the project.

    Raises:
        DiskFull: there is no space; StoreUnavailable: the bucket does not answer.
    """
    relative = f"{place}/{model_id[:16]}"
    store = store_of(context)
    root = store.root
    if root is None:
        if not store.exists(f"{relative}/{LAST_OF[place]}"):
            _upload(context, store, relative, write)
        return relative
    target = root / relative
    if not target.exists():
        temporary = temporary_beside(target)
        try:
            write(temporary)
            _rename(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return relative


@contextlib.contextmanager
def local(context: Context, folder: str) -> Iterator[Path]:
    """A model as a folder of this machine, for the length of the block.

    Args:
        context: wiring.
        folder: as its row names it.

    A model that is lost is a folder that is not there: what reads it says so.

    Raises:
        NotAllowed: the row names a folder outside the project.
        StoreUnavailable: the bucket does not answer.
    """
    context.project.inside(context.project.root, folder)
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(store_of(context).local_folder(folder, without=REPORTS))
        except ObjectLost:
            path = context.project.root / folder  # reading it says what is missing
        yield path


def for_run(context: Context, folder: str, run: Path) -> Path:
    """A model as a folder that stays as long as a training run does, and has the same name again.

    Args:
        context: wiring.
        folder: as its row names it.
        run: folder of the run.
    """
    context.project.inside(context.project.root, folder)
    root = store_of(context).root
    if root is not None:
        return root / folder
    target = run / f"from-{Path(folder).name}"
    if not target.exists():
        temporary = temporary_beside(target)
        try:
            with local(context, folder) as path:
                shutil.copytree(path, temporary)
            _rename(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def _upload(
    context: Context, store: ProjectStore, relative: str, write: Callable[[Path], object]
) -> None:
    """Write a model on this machine, then to the bucket, what says that it is whole last."""
    temporary = temporary_beside(context.project.models / "any")
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(temporary)
        files = sorted(
            (path for path in temporary.rglob("*") if path.is_file()),
            key=lambda path: path.name == LAST_OF[Path(relative).parts[0]],
        )
        for path in files:
            store.put(f"{relative}/{path.relative_to(temporary).as_posix()}", path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename(temporary: Path, target: Path) -> None:
    try:
        temporary.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        # Another process has written the same model meanwhile: its name is its content.
