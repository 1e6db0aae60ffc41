"""``e2x import``: data sets into the project."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from curation.errors import AnnotationsInvalid
from services.cli.common import (
    FAILURE_EXIT,
    USAGE_EXIT,
    JsonOption,
    console,
    opened,
    print_json,
    show_error,
)
from services.cli.follow import progress
from services.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from services.imports import ImportReport, Part

SHOWN_PROBLEMS = 10
BROKEN_OFF = "broke off: what is counted here is stored; the same command takes up the rest"

SourcesArgument = Annotated[
    list[Path], typer.Argument(metavar="SOURCE…", help="Folders, or COCO files.")
]
RoleOption = Annotated[
    Literal["seed", "pool", "field", "holdout", "siblings"],
    typer.Option(help="What the images may be used for; `holdout` and `siblings` only evaluate."),
]
FormatOption = Annotated[
    Literal["coco", "voc", "yolo", "images"] | None,
    typer.Option("--format", help="Without: found out."),
]
GroupOption = Annotated[
    str | None, typer.Option(help="Of all images, such as the drive they come from.")
]
IgnoreOption = Annotated[
    float | None,
    typer.Option(
        "--ignore-below", help="Boxes with a shorter side, in px, become ignore regions.", min=0
    ),
]
PartOption = Annotated[
    str | None,
    typer.Option(metavar="K/N", help="Only every N-th block of consecutive frames, from the K-th."),
]
ReplaceOption = Annotated[
    bool,
    typer.Option(
        "--replace-corrections",
        help="Labels of the source take the place of what people have corrected since, too.",
    ),
]
BlockOption = Annotated[int, typer.Option(help="Frames a block of --part.", min=1)]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_sources)


def import_sources(
    sources: SourcesArgument,
    role: RoleOption,
    fmt: FormatOption = None,
    group: GroupOption = None,
    ignore_below: IgnoreOption = None,
    part: PartOption = None,
    block: BlockOption = 25,
    replace_corrections: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Import COCO, VOC or YOLO data sets, or plain folders of images for the pool.

    One bad entry is reported and costs its neighbours nothing, nor does one bad source; importing
    again adds nothing, and labels that people have corrected since stay. An image of which a box
    cannot be read is left out. The exit status is 1 if anything was left out, 2 if a source was
    refused as a whole.
    """
    from sqlalchemy.exc import DBAPIError

    from services.db.tables import Role
    from services.imports import ImportReport, import_dataset
    from services.storage import DiskFull

    wanted = None if part is None else _part(part, block)
    reports: dict[str, ImportReport] = {}
    broken: list[Exception] = []
    fatal: Exception | None = None
    with opened() as context, progress() as bars:
        for source in sources:
            bar = bars.add_task(f"import {source.name}", total=None, note="reading")

            def on_progress(done: int, total: int, bar: int = bar) -> None:
                bars.update(bar, completed=done, total=total, note="")  # type: ignore[arg-type]

            report = ImportReport()
            try:
                reports[str(source)] = import_dataset(
                    context,
                    source.expanduser(),
                    Role(role),
                    fmt=fmt,
                    group=group,
                    min_side_px=ignore_below,
                    part=wanted,
                    progress=on_progress,
                    report=report,
                    replace_corrections=replace_corrections,
                )
            except (AnnotationsInvalid, InvalidRequest, NotFound) as error:
                broken.append(error)
            except (DiskFull, DBAPIError, OSError) as error:
                report.notes.append(BROKEN_OFF)
                reports[str(source)], fatal = report, error
                break
    if as_json:
        print_json({source: _as_json(report) for source, report in reports.items()})
    else:
        for name, report in reports.items():
            _print_report(name, report)
    for slip in broken:
        show_error(slip)
    if fatal is not None:
        raise fatal
    if broken:
        raise typer.Exit(USAGE_EXIT)
    if not _all_came_in(reports.values()):
        raise typer.Exit(FAILURE_EXIT)


def _all_came_in(reports: Collection[ImportReport]) -> bool:
    some = any(report.images_added or report.images_known for report in reports)
    return some and all(report.complete for report in reports)


def _part(text: str, block: int) -> Part:
    from services.imports import Part

    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal()):
        raise InvalidRequest(f"--part {text}: expected K/N, such as 1/2")
    return Part(int(number), int(count), block)


def _as_json(report: ImportReport) -> dict[str, object]:
    return {
        "images_added": report.images_added,
        "images_known": report.images_known,
        "images_left_out": report.images_left_out,
        "boxes": report.boxes,
        "truths_replaced": report.truths_replaced,
        "corrections_kept": report.corrections_kept,
        "problems": [{"where": one.where, "message": one.message} for one in report.problems],
        "notes": report.notes,
    }


def _about_truth(report: ImportReport) -> Iterator[str]:
    """What happened to labels that were there before; nothing where all are new or the same."""
    if report.truths_replaced:
        yield f"{report.truths_replaced} truths replaced by those of the source"
    if report.corrections_kept:
        yield (
            f"{report.corrections_kept} truths were corrected by people since and stay "
            "(--replace-corrections takes those of the source)"
        )


def _print_report(source: str, report: ImportReport) -> None:
    out = console()
    left_out = report.images_left_out
    out.print(
        f"{source}: {report.images_added} images added, {report.images_known} known, "
        f"{report.boxes} boxes, {len(report.problems)} problems"
        + (f", {left_out} images left out" if left_out else ""),
        markup=False,
        soft_wrap=True,
    )
    for line in _about_truth(report):
        out.print(f"  {line}", markup=False, soft_wrap=True)
    for note in report.notes:
        out.print(f"  {note}", markup=False, style="yellow", soft_wrap=True)
    for problem in report.problems[:SHOWN_PROBLEMS]:
        told = f"  {problem.where}: {problem.message}"
        out.print(told, markup=False, style="yellow", soft_wrap=True)
    if len(report.problems) > SHOWN_PROBLEMS:
        more = len(report.problems) - SHOWN_PROBLEMS
        out.print(f"  … and {more} more: --json lists all", style="yellow")
    if left_out:
        out.print("  mend what was left out and import again: only that is added", style="dim")
