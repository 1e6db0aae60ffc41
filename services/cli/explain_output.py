"""What ``e2x explain`` leaves behind: a picture, tables, JSON, or what comes closest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curation.explain.about import about
from curation.kernel import images
from curation.kernel.types import ImageArray
from services.cli.common import console, print_json, print_table
from services.cli.explain_checks import in_project
from services.cli.explain_targets import Question
from services.config.project import Project
from services.config.settings import Settings
from services.explaining.one_image import Outcome
from services.explaining.sheet import as_json, picture
from services.store.storage import write_bytes


def save(
    asked: Question,
    outcomes: Sequence[Sequence[Outcome]],
    output: Path | None,
    settings: Settings,
    panel_width_px: int | None,
) -> Path:
    """Draw and write the picture, without a name to the project's reports or to this folder.

    Raises:
        DiskFull: there is no space.
    """
    folder = Project(settings.resolved_project()).reports if in_project(settings) else Path()
    file = (output or folder / f"{asked.name}-explained.png").expanduser()
    drawn = picture(asked.image, outcomes, asked.truth_boxes, asked.heading, panel_width_px)
    write_bytes(file, _encoded(drawn, file))
    return file


def _encoded(drawn: ImageArray, file: Path) -> bytes:
    jpeg = file.suffix.lower() != ".png"
    return images.encode_jpeg(drawn, 85) if jpeg else images.encode_png(drawn)


def print_candidates(asked: Question, as_json: bool) -> None:
    """What comes closest where nothing is detected."""
    names, found = asked.detector.class_names, asked.candidates
    rows = [
        (names[int(kind)], float(score), ",".join(f"{value:.0f}" for value in box))
        for kind, score, box in zip(found.labels, found.scores, found.boxes_xyxy, strict=True)
    ][:20]
    if as_json:
        print_json({"explained": [], "candidates": [list(row) for row in rows]})
        return
    out = console()
    out.print(asked.nothing, markup=False)
    if rows:
        print_table("Candidates", ("class", "#score", "box"), rows)
        label, _, corners = rows[0]
        out.print(f"explain one of them: --target {corners}:{label}", markup=False)


def print_outcomes_json(
    asked: Question,
    outcomes: Sequence[Sequence[Outcome]],
    centres: list[list[float]],
    file: Path | None,
) -> None:
    """Everything, for scripts."""
    height, width = asked.image.shape[:2]
    print_json(
        {
            "image": {"file": str(asked.file), "width": width, "height": height},
            "model": {"version": asked.detector.version, "name": asked.model},
            "segments": {"count": len(centres), "centres_xy": centres},
            "explained": as_json(outcomes, asked.detector.class_names),
            "picture": None if file is None else str(file),
        }
    )


def print_outcomes(
    asked: Question, outcomes: Sequence[Sequence[Outcome]], file: Path | None, left: int
) -> None:
    """A table a subject, how many were left out, and where the picture is."""
    for row in outcomes:
        print_table(
            f"{asked.name}: {row[0].subject.words}",
            (
                "method",
                "#score",
                "#completeness error",
                "what hurts most",
                "#inputs",
                "#seconds",
                "note",
            ),
            [_line(outcome) for outcome in row],
        )
    out = console()
    if left > 0:
        shown = len(outcomes) // asked.numbers
        out.print(f"{left} more: --top {left + shown} explains them all", style="dim")
    out.print(f"picture: {file}", markup=False)


def _line(outcome: Outcome) -> tuple[Any, ...]:
    cost = (outcome.inputs or None, outcome.seconds)
    found = outcome.attribution
    if found is None:
        return (outcome.method, None, None, None, *cost, f"failed: {outcome.error}")
    regions = "; ".join(
        f"{region.weight:.0%} at {','.join(f'{value:.0f}' for value in region.box_xyxy)}"
        + ("" if region.only_with is None else f", only with region {region.only_with + 1}")
        for region in outcome.regions[:2]
    )
    return (
        outcome.method,
        found.score,
        f"{found.completeness_error:+.3f}" if about(outcome.method).complete else None,
        regions,
        *cost,
        "; ".join(outcome.notes),
    )
