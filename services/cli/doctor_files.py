"""What ``e2x doctor`` sees in the folders of a project."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from services.cli.findings import Finding

if TYPE_CHECKING:
    from services.context import Context


def examine(context: Context) -> Iterator[Finding]:
    """The store, files that others can read, damaged files of the broker, the watched folder."""
    yield _store(context)
    yield from _private(context)
    yield from _moved_aside(context)
    yield from _watched(context)


def _store(context: Context) -> Finding:
    """Whether the store does all that is asked of it, seen by doing it."""
    from services.store.probe import probe

    name, wrong = probe(context)
    if wrong:
        return Finding("store", "fail", f"{name}: {wrong}", "look at [storage] in `e2x config`")
    return Finding("store", "ok", f"{name}: stores, reads, swaps and deletes")


def _private(context: Context) -> Iterator[Finding]:
    from services.db.engine import sqlite_file
    from services.store import private

    found = private.exposed(context.project, sqlite_file(context.engine))
    if found:
        first = found[0]
        yield Finding(
            "private",
            "warn",
            f"{len(found)} files or folders can be read by other users, such as {first}",
            f"e2x init {context.project.root} closes them, and so does `e2x up`",
        )


def _moved_aside(context: Context) -> Iterator[Finding]:
    from services.worker import redis_repair

    aside = redis_repair.moved_aside(context.project)
    if aside:
        yield Finding(
            "broker",
            "warn",
            f"a damaged file of the broker was moved aside: {aside[-1]}",
            "no work was lost; look at the disk, then delete it",
        )


def _watched(context: Context) -> Iterator[Finding]:
    from services.intake import refusals, watch
    from services.intake.file_names import shown

    folder = watch.watched_folder(context)
    if folder is None:
        return
    if not folder.is_dir():
        advice = "make it, or set ingest.watch_folder to another"
        yield Finding("watch", "warn", f"{folder} is no folder: nothing comes in", advice)
        return
    refused = sorted(refusals.known(folder / watch.REJECTED))
    if refused:
        reason = refusals.reason_of(refused[-1])
        found = f"{len(refused)} files refused, such as {shown(refused[-1].name)}: {reason}"
        advice = f"mend them where they lie, in {folder / watch.REJECTED}, or delete them"
        yield Finding("watch", "warn", found, advice)
    for name, why in watch.read_troubles(context.project).items():
        yield Finding("watch", "warn", f"{name} is tried again: {why}", f"see {folder}")
