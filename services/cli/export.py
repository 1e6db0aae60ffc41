"""``e2x export``: dataset versions and failures for other tools."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from services.cli.common import console, opened
from services.errors import InvalidRequest

if TYPE_CHECKING:
    from services.labeling.exports import Export
    from services.store.zip_stream import Member

export_app = typer.Typer(help="Dataset versions and failures for other tools: COCO, YOLO, VOC.")
FormatOption = Annotated[
    Literal["coco", "yolo", "voc"], typer.Option("--format", help="Of the labels.")
]
OutOption = Annotated[
    Path, typer.Option(help="A new folder, or a file that ends in .zip.", show_default=False)
]
ImagesOption = Annotated[bool, typer.Option("--images/--no-images", help="Copy the pictures.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(export_app, name="export", no_args_is_help=True)


@export_app.command("dataset")
def dataset(
    out: OutOption,
    version: Annotated[
        str, typer.Argument(metavar="[VERSION]", help="Its id or the start of it; the newest.")
    ] = "latest",
    fmt: FormatOption = "coco",
    images: ImagesOption = True,
) -> None:
    """Write a dataset version, with its labels as they were then."""
    from services.labeling import exports

    with opened() as context:
        row = exports.find_version(context, version)
        _write(exports.dataset(context, row, fmt, images), out)


@export_app.command("failures")
def failures(
    out: OutOption,
    fmt: FormatOption = "coco",
    images: ImagesOption = True,
    maps: Annotated[
        bool, typer.Option("--maps/--no-maps", help="COCO: maps as pictures beside it.")
    ] = True,
    state: Annotated[
        str | None, typer.Option(help="Only in this state; without: all but those taken back.")
    ] = None,
    model: Annotated[int | None, typer.Option(help="Only of this model.", min=1)] = None,
    mode: Annotated[int | None, typer.Option(help="Only of this mode.", min=1)] = None,
) -> None:
    """Write failures in their frames; as COCO with kind, model, mode, regions and map of each.

    FiftyOne reads the fields that begin with e2x_ as attributes of detections.
    """
    from services.labeling import exports

    with opened() as context:
        wanted = exports.Wanted(state, model, mode)
        _write(exports.failures(context, wanted, fmt, images, maps), out)


def _write(export: Export, out: Path) -> None:
    """To a folder that is new or empty, or to an archive, whole or not at all."""
    out = out.expanduser()
    as_archive = out.suffix.lower() == ".zip"
    if out.exists() and (as_archive or not out.is_dir() or any(out.iterdir())):
        raise InvalidRequest(f"{out} is there already: name a new folder, or a new file.zip")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a command that was stopped
    lost: list[str] = []
    try:
        (_to_archive if as_archive else _to_folder)(_watched(export, lost), part)
        part.rename(out)
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        part.unlink(missing_ok=True)
    screen = console()
    screen.print(f"{export.images} images in {out}", markup=False)
    for note in export.notes:
        screen.print(note, style="dim", markup=False)
    for name in lost:
        screen.print(f"files are missing: {name} in it names them", style="yellow", markup=False)


def _watched(export: Export, lost: list[str]) -> Iterator[Member]:
    """The members; which of them tell of lost files is noted."""
    for member in export.members:
        if member.path.startswith("LOST"):
            lost.append(member.path)
        yield member


def _to_archive(members: Iterator[Member], part: Path) -> None:
    from services.store.zip_stream import zipped

    with part.open("wb") as file:
        for piece in zipped(members):
            file.write(piece)


def _to_folder(members: Iterator[Member], part: Path) -> None:
    part.mkdir()
    for member in members:
        target = part / member.path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            for piece in member.data:
                file.write(piece)
