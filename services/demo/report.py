"""The demo's page: the project's report with the demo's figures on top."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from services.context import Context
from services.demo.figures import Figures
from services.report import ReportExtra, Tile, build, predictor

INTRO = (
    "A detector was trained on a small seed set of a generated street world, sent into the field "
    "and repaired: its failures were explained, what hurt them was looked up in the pool, a "
    "simulated annotator labelled it, what the pool had nothing for was drawn from known objects "
    "and what hurt, and each retrained detector had to pass the gate."
)
ROWS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("failures in the field", lambda f: f"{f.failures_before} → {f.failures_after}"),
    (
        "unseen siblings failed",
        lambda f: f"{f.siblings_failed_before} → {f.siblings_failed_after}",
    ),
    ("holdout AP50", lambda f: f"{f.map50_before:.3f} → {f.map50_after:.3f}"),
    ("negative flips", lambda f: f"{f.negative_flips:.1%}"),
    ("boxes labelled", lambda f: str(f.boxes_labelled)),
    ("images labelled", lambda f: str(f.images_labelled)),
    ("samples drawn, kept", lambda f: f"{f.samples_drawn}, {f.samples_kept}"),
    ("challengers promoted", lambda f: f"{f.promoted} of {f.cycles}"),
    ("seconds", lambda f: f"{f.seconds:.0f}"),
)


def write_report(
    project: Context, out: Path, result: Figures, compared: dict[str, Figures]
) -> Path:
    """Write the page; the compared policies stand beside E2X in a table."""
    columns = {"E2X": result, **compared}
    table = [["", *columns]]
    table += [[title, *(text(figures) for figures in columns.values())] for title, text in ROWS]
    extra = ReportExtra(
        title="What the loop did",
        intro=INTRO,
        tiles=_tiles(result),
        tables={f"E2X beside {', '.join(compared)}": table} if compared else {},
    )
    return build(project, out, extra=extra, predict=predictor(project))


def _tiles(result: Figures) -> list[Tile]:
    return [
        Tile.compare(
            "Failures in the field",
            result.failures_before,
            result.failures_after,
            lower_is_better=True,
        ),
        Tile.compare(
            "Unseen siblings failed",
            result.siblings_failed_before,
            result.siblings_failed_after,
            lower_is_better=True,
        ),
        Tile.compare(
            "Holdout AP50",
            result.map50_before,
            result.map50_after,
            lower_is_better=False,
            form=".3f",
            tolerance=0.005,
        ),
        Tile("Negative flips", f"{result.negative_flips:.1%}"),
        Tile("Boxes labelled", str(result.boxes_labelled), note=f"in {result.cycles} cycles"),
        Tile(
            "Samples drawn",
            f"{result.samples_kept} kept",
            note=f"of {result.samples_drawn} for what the pool had nothing for",
        ),
        Tile("Challengers promoted", f"{result.promoted} of {result.cycles}"),
    ]
