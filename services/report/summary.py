"""The figures at the top of the page, from the database."""

from __future__ import annotations

from typing import Any

from services.db.tables import Model
from services.report.extra import Tile
from services.report.read import ReportRows

AP50_TOLERANCE = 0.005
"""Smaller changes of AP50 come with every training run."""
Table = tuple[str, list[list[str]]]


def tiles_of(rows: ReportRows) -> list[Tile]:
    """First model against the champion, labels spent, challengers promoted."""
    tiles: list[Tile] = []
    first = rows.models[0] if rows.models else None
    last = next((model for model in rows.models if model.state == "champion"), first)
    if first is not None and last is not None:
        tiles += _compared(rows, first, last)
    fixed, every = rows.failure_states.get("fixed", 0), sum(rows.failure_states.values())
    if every:
        tiles.append(Tile("Failures fixed", f"{fixed} of {every}", note="of all models so far"))
    boxes = sum(cycle.cycle.boxes_labelled for cycle in rows.cycles)
    tiles.append(Tile("Boxes labelled", str(boxes), note=f"in {len(rows.cycles)} cycles"))
    judged = [cycle.cycle for cycle in rows.cycles if cycle.cycle.promoted is not None]
    promoted = sum(bool(cycle.promoted) for cycle in judged)
    tiles.append(Tile("Challengers promoted", f"{promoted} of {len(judged)}"))
    return tiles


def _compared(rows: ReportRows, first: Model, last: Model) -> list[Tile]:
    before = rows.failures_by_model.get(first.id, 0)
    tiles = [Tile("Failures in the field", str(before), note=f"of model {first.number}")]
    if first.id != last.id:
        after = rows.failures_by_model.get(last.id, 0)
        tiles = [Tile.compare("Failures in the field", before, after, lower_is_better=True)]
    missed = [_figure(model, "siblings", "missed") for model in (first, last)]
    if all(value is not None for value in missed):
        tiles.append(Tile.compare("Unseen siblings missed", *missed, lower_is_better=True))
    found = [_figure(model, "holdout", "map50") for model in (first, last)]
    if all(value is not None for value in found):
        tiles.append(
            Tile.compare(
                "Holdout AP50",
                *found,
                lower_is_better=False,
                form=".3f",
                tolerance=AP50_TOLERANCE,
            )
        )
    return tiles


def cycles_table(rows: ReportRows) -> Table:
    """One row a cycle, the header first."""
    header = ["Cycle", "Policy", "Modes", "Images asked", "Boxes labelled", "Models", "Outcome"]
    lines = [
        [
            str(cycle.cycle.id),
            cycle.cycle.policy,
            str(len(cycle.modes)),
            str(len(cycle.samples)),
            str(cycle.cycle.boxes_labelled),
            f"{rows.number(cycle.cycle.champion_id)} → {rows.number(cycle.cycle.challenger_id)}",
            _outcome(cycle.cycle.promoted, cycle.cycle.state),
        ]
        for cycle in rows.cycles
    ]
    return "Cycles", [header, *lines]


def models_table(rows: ReportRows) -> Table:
    """One row a model, the header first."""
    header = ["Model", "State", "Trained on", "Holdout mAP", "Holdout AP50", "Siblings found"]
    header.append("Field failures")
    lines = []
    for model in rows.models:
        dataset = rows.datasets.get(model.dataset_version_id or "")
        siblings = (model.reports or {}).get("siblings")
        lines.append(
            [
                str(model.number),
                model.state,
                f"{dataset.images} images, {dataset.boxes} boxes" if dataset else "–",
                _three(_figure(model, "holdout", "map")),
                _three(_figure(model, "holdout", "map50")),
                f"{siblings['found']} of {siblings['objects']}" if siblings else "–",
                _field_failures(rows, model),
            ]
        )
    return "Models", [header, *lines]


def _field_failures(rows: ReportRows, model: Model) -> str:
    """Only a model that was the champion has looked at the field."""
    counted = rows.failures_by_model.get(model.id, 0)
    return "–" if model.state in ("challenger", "rejected") and not counted else str(counted)


def _figure(model: Model, role: str, name: str) -> Any:
    return (model.reports or {}).get(role, {}).get(name)


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _outcome(promoted: bool | None, state: str) -> str:
    return state if promoted is None else ("promoted" if promoted else "not promoted")
