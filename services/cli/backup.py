"""``e2x backup``: a copy of the project, also while it works, and whether such a copy is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.common import console, opened
from services.cli.follow import progress
from services.errors import ServiceError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from services.upkeep.backup import Tell


class BackupDamaged(ServiceError):
    """A backup from which a project cannot be restored as it was."""

    code = "backup_damaged"
    status = 500


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("backup")(backup)


def backup(
    folder: Annotated[Path, typer.Argument(help="A folder that is not there yet.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare a backup with what it was; changes nothing.")
    ] = False,
    dump: Annotated[
        Path | None,
        typer.Option(help="PostgreSQL: what pg_dump made just before, to be kept with the files."),
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy every file, also where a link would do.")
    ] = False,
) -> None:
    """Copy the project, also while it works: a backup is a project that can be opened.

    Caches, logs and the broker are left out. To restore, copy the backup to where it shall run.
    """
    target = folder.expanduser().resolve()
    if verify:
        _verify(target)
    else:
        _make(target, dump, copy)


def _verify(target: Path) -> None:
    from services.upkeep import backup_manifest

    with _bars() as tell:
        wrong = backup_manifest.verify(target, tell)
    if wrong:
        for line in wrong[:20]:
            console().print(line, markup=False, soft_wrap=True)
        raise BackupDamaged(f"{target} is not whole: {len(wrong)} things are wrong")
    count = len(backup_manifest.read(target)["files"])
    console().print(f"{target} is whole: {count} files, and every row has its own")


def _make(target: Path, dump: Path | None, copy: bool) -> None:
    from services.db.engine import sqlite_file
    from services.upkeep import backup as backups

    out = console()
    with opened() as context:
        embedded = sqlite_file(context.engine) is not None
        if not embedded and dump is None:
            command = backups.dump_command(context.engine.url, Path("e2x.dump"))
            out.print(
                "the files alone are backed up: PostgreSQL is dumped by its own program. For a "
                f"backup that fits together run\n  {command}\n  e2x backup FOLDER --dump e2x.dump\n"
                "in this order, so that no row is newer than the files",
                markup=False,
                soft_wrap=True,
            )
        with _bars() as tell:
            manifest = backups.make(context, target, tell, dump, link=not copy)
    size = sum(entry["bytes"] for entry in manifest["files"].values())
    out.print(f"backed up to {target}: {len(manifest['files'])} files, {size / 2**20:.1f} MiB")
    out.print(_restore(target, embedded, dump is not None), markup=False, soft_wrap=True)


def _restore(target: Path, embedded: bool, dumped: bool) -> str:
    lines = [f"  cp -a {target} PROJECT"]
    if not embedded:
        dump = "PROJECT/state/database.dump" if dumped else "DUMP"
        lines.append(f"  pg_restore --clean --if-exists --dbname=DATABASE {dump}")
    lines.append("  e2x --project PROJECT doctor --deep" + ("" if embedded else " --mend"))
    return "\n".join(["to restore:", *lines, f"whether it is whole: e2x backup --verify {target}"])


@contextmanager
def _bars() -> Iterator[Tell]:
    """A bar for each kind of thing."""
    with progress() as bars:
        known: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in known:
                known[what] = bars.add_task(what, total=total, note="")
            bars.update(known[what], completed=done, total=max(total, 1) if done else total)

        yield tell
