"""Answers to label tasks in files: which file it is, and what became of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.common import console
from services.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from services.labeling.coco import LabelImport

ANNOTATIONS = "annotations.json"
SHOWN_PROBLEMS = 10
SHOWN_NAMES = 3


def answers_in(path: Path) -> Path:
    """The COCO file that was named, or that of a folder: ours, or the only one of another tool.

    Raises:
        NotFound: there is none.
        InvalidRequest: there are several.
        AnnotationsInvalid: it is no COCO file by what it is.
    """
    from curation.formats.coco_files import candidates, require_json
    from curation.formats.tree import Tree

    if path.is_dir() and not (path / ANNOTATIONS).is_file():
        found = [file.path for file in candidates(Tree.below(path))[0]]
        if len(found) > 1:
            names = ", ".join(str(one.relative_to(path)) for one in found[:3])
            raise InvalidRequest(f"{path} has several COCO files, {names}: name one of them")
        path = found[0] if found else path / ANNOTATIONS
    path = path / ANNOTATIONS if path.is_dir() else path
    if not path.is_file():
        raise NotFound(f"{path} does not exist")
    require_json(path)
    return path


def print_import(
    report: LabelImport,
    take_empty: str = "--take-empty",
    take_untouched: str = "--take-untouched",
) -> None:
    """Print what an import of labels did.

    Args:
        report: of it.
        take_empty: option that takes images without objects for answers.
        take_untouched: option that takes pre-labels as they were exported for answers.
    """
    out = console()
    replaced = f", {report.replaced} answers replaced" if report.replaced else ""
    empty = f"; {report.empty} of them say that nothing is there" if report.empty else ""
    new = report.submitted or report.replaced or not report.unchanged
    what = f"{replaced} with {report.boxes} boxes{empty}" if new else ""
    before = f"; {report.unchanged} were answered so before" if report.unchanged else ""
    out.print(f"{report.submitted} tasks answered{what}{before}", soft_wrap=True)
    for note in report.notes:
        out.print(f"  {note}", soft_wrap=True)
    if report.undecided:
        out.print(
            f"{report.undecided} of them are undecided: a second person answers too, or a curator "
            "settles what two saw differently (`e2x labels list` tells which)",
            soft_wrap=True,
        )
    if report.late:
        out.print(
            f"{report.late} of them late: their cycle has gone on, they count for the next dataset "
            "version",
            soft_wrap=True,
        )
    _print_left(report.left_empty, "without objects", f"{take_empty} says that nothing is in them")
    _print_left(
        report.left_untouched,
        "with the pre-labels as they were exported, scores and all,",
        f"{take_untouched} says that these are right",
    )
    if report.problems:
        out.print(f"{len(report.problems)} left out:", style="yellow")
    for one in report.problems[:SHOWN_PROBLEMS]:
        out.print(f"  {one.where}: {one.message}", markup=False, style="yellow")
    if len(report.problems) > SHOWN_PROBLEMS:
        out.print(f"  … and {len(report.problems) - SHOWN_PROBLEMS} more: --json lists all")


def _print_left(images: list[str], what: str, advice: str) -> None:
    """Tell of images that may be no answers, and how to say that they are."""
    if not images:
        return
    names = ", ".join(images[:SHOWN_NAMES]) + (", …" if len(images) > SHOWN_NAMES else "")
    console().print(
        f"{len(images)} images {what} were left as they are ({names}): {advice}",
        style="yellow",
        soft_wrap=True,
    )
