"""What all commands share: the project, errors as one line, tables, JSON."""

from __future__ import annotations

import logging
import os
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import DBAPIError
from typer.core import TyperGroup

from curation.kernel.errors import CurationError
from retrain.errors import RetrainError
from services.config.settings import get_settings
from services.errors import ServiceError
from services.plain import json_text, visible

if TYPE_CHECKING:
    from services.context import Context

OURS = (ServiceError, CurationError, RetrainError)
USAGE_EXIT, FAILURE_EXIT = 2, 1

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
LimitOption = Annotated[int, typer.Option(help="Rows at most.", min=1)]


class Screen(Console):
    """A console that shows text as it is: no markup in it counts, and no byte of it is obeyed.

    File names, class names, reporters and error messages come from outside. Whatever is printed,
    in tables and progress bars too, goes through here; styles are given apart from the text.

    Args:
        stderr: on standard error instead of standard output.
        options: as rich takes them.
    """

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        super().__init__(
            **{"stderr": stderr, "markup": False, "emoji": False, "highlight": False, **options}
        )

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Pieces of text with their styles."""
        for piece in super().render(renderable, options):
            plain = piece.control or piece.text.isprintable()
            yield piece if plain else Segment(visible(piece.text), piece.style)


class CommandGroup(TyperGroup):
    """Shows our errors as one line; anything else is a fault of the program and has a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except (*OURS, ValidationError, DBAPIError, tomllib.TOMLDecodeError, OSError) as error:
            if ctx.params.get("verbose") or isinstance(error, BrokenPipeError):
                raise
            show_error(error)
            raise typer.Exit(exit_code(error)) from error
        except Exception as error:
            # Of a wrong option or argument; typer shows it, and it may quote a file's name.
            if hasattr(error, "format_message") and isinstance(getattr(error, "message", 0), str):
                vars(error)["message"] = visible(vars(error)["message"])
            raise


def exit_code(error: BaseException) -> int:
    """2 where the user can put it right by asking otherwise, 1 where something failed."""
    if isinstance(error, ServiceError):
        return USAGE_EXIT if error.status < 500 else FAILURE_EXIT
    if isinstance(error, ValidationError | tomllib.TOMLDecodeError):
        return USAGE_EXIT
    if isinstance(error, CurationError):
        return FAILURE_EXIT if error.retryable else USAGE_EXIT
    return FAILURE_EXIT


def show_error(error: BaseException) -> None:
    """One red line on standard error, and below it what to do where the message does not say."""
    message, hint = (visible(text) for text in describe(error))
    console = Screen(stderr=True, soft_wrap=True)
    console.print(Text.assemble(("error: ", "bold red"), (message, "red")))
    if hint:
        console.print(Text(f"hint: {hint}", "dim"))


def describe(error: BaseException) -> tuple[str, str]:
    """Message and hint of an error."""
    if isinstance(error, ValidationError):
        slips = [
            f"setting {'.'.join(str(part) for part in slip['loc']) or 'combination'}: {slip['msg']}"
            for slip in error.errors()
        ]
        return "; ".join(slips), "`e2x config` lists every setting with its bounds"
    if isinstance(error, tomllib.TOMLDecodeError):
        return f"e2x.toml is not valid TOML: {error}", "strings need quotes, true is lower case"
    if isinstance(error, DBAPIError):
        return (
            f"database: {str(error.orig).splitlines()[0]}",
            "`e2x init PROJECT` creates or upgrades its tables; `e2x doctor` looks at the rest",
        )
    return " ".join(str(error).split("\n")) or type(error).__name__, ""


def choose_project(project: Path | None) -> None:
    """Make the named project the one of this process and of those it starts."""
    if project is not None:
        os.environ["E2X_PROJECT"] = str(project.expanduser().resolve())
    get_settings.cache_clear()


def configure_logs(verbose: bool) -> None:
    """Warnings, or with ``--verbose`` everything, as plain lines on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainFormatter("%(levelname)s %(name)s: %(message)s"))
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, handlers=[handler], force=True)


class _PlainFormatter(logging.Formatter):
    """Messages may quote names from outside."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


@contextmanager
def opened() -> Iterator[Context]:
    """The wiring of the project, for the length of a command.

    Raises:
        NotFound: (on entry) there is no project.
    """
    from services import context as wiring

    context = wiring.build(get_settings())
    try:
        yield context
    finally:
        context.engine.dispose()


def console() -> Screen:
    """Where results go; wide enough for a table when it is a pipe."""
    return Screen(width=None if sys.stdout.isatty() else 160)


def print_json(value: Any) -> None:
    """The value as indented JSON on standard output."""
    typer.echo(json_text(value, indent=2, default=_plain))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table; columns whose name begins with ``#`` are numbers and stand at the right."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in columns:
        table.add_column(name.lstrip("#"), justify="right" if name.startswith("#") else "left")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    console().print(table)


def print_facts(title: str, facts: Iterable[tuple[str, Any]]) -> None:
    """Names and values, a line each."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, Text(cell(value)))
    console().print(table)


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return visible(str(value))


def columns_of(row: Any, *without: str) -> dict[str, Any]:
    """A table row as a dictionary of its columns, for JSON."""
    names = [column.key for column in type(row).__mapper__.columns]
    return {name: getattr(row, name) for name in names if name not in without}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Enum):
        return value.value
    return str(value)
