"""What ``e2x import`` says of a source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from services.cli.common import console

if TYPE_CHECKING:
    from services.intake.imports import ImportReport

SHOWN_PROBLEMS = 10


def as_dict(report: ImportReport) -> dict[str, object]:
    """What became of a source, for a program."""
    return {
        "images_added": report.images_added,
        "images_known": report.images_known,
        "images_elsewhere": report.images_elsewhere,
        "images_left_out": report.images_left_out,
        "boxes": report.boxes,
        "ignored": report.ignored,
        "images_empty": report.empty,
        "images_unlabelled": report.unlabelled,
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


def print_report(source: str, report: ImportReport) -> None:
    """Print what became of a source, its first problems and what to do about them."""
    out = console()
    left_out = report.images_left_out
    out.print(
        f"{source}: {report.images_added} images added, {_there(report)}, {_boxes(report)}, "
        f"{len(report.problems)} problems" + (f", {left_out} images left out" if left_out else ""),
        markup=False,
        soft_wrap=True,
    )
    if report.empty:
        unsaid = f", {report.unlabelled} of them because nothing is said of them: have they been "
        told = f"  {report.empty} images without objects" + (
            f"{unsaid}labelled?" if report.unlabelled else ""
        )
        out.print(told, markup=False, style="yellow", soft_wrap=True)
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


def _there(report: ImportReport) -> str:
    told = f"{report.images_there} already there"
    if report.images_elsewhere:
        told += f" ({report.images_elsewhere} of them in another role)"
    return told


def _boxes(report: ImportReport) -> str:
    if not report.ignored:
        return f"{report.boxes} boxes"
    if report.ignored == report.boxes:
        return f"{report.boxes} boxes, all of them ignore regions: nothing is learnt from them"
    return f"{report.boxes} boxes ({report.ignored} of them ignore regions)"
