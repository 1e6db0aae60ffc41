"""The figures at the top of the page, from the database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from services.db.tables import Model
from services.report.extra import Tile
from services.report.field import champion_of
from services.report.read import ReportRows

AP50_TOLERANCE = 0.005
"""Smaller changes of AP50 come with every training run."""
Table = tuple[str, list[list[str]]]


def tiles_of(rows: ReportRows) -> list[Tile]:
    """First model against the champion, labels spent, challengers promoted."""
    tiles: list[Tile] = []
    first = rows.models[0] if rows.models else None
    last = champion_of(rows.models) or first
    if first is not None and last is not None:
        tiles += _compared(rows, first, last)
    fixed, every = rows.failure_states.get("fixed", 0), sum(rows.failure_states.values())
    if every:
        tiles.append(Tile("Failures fixed", f"{fixed} of {every}", note=_judged_by(rows)))
    if rows.frames.teaching:
        note = f"{rows.frames.with_truth} with truth, {rows.frames.to_label} to label"
        tiles.append(Tile("Failing frames that teach", str(rows.frames.teaching), note=note))
        judging = rows.frames.judges + rows.frames.undealt
        note = "never trained on: they say what is fixed"
        tiles.append(Tile("Failing frames that judge", str(judging), note=note))
    boxes = sum(cycle.cycle.boxes_labelled for cycle in rows.cycles)
    tiles.append(Tile("Boxes labelled", str(boxes), note=f"in {len(rows.cycles)} cycles"))
    judged = [cycle.cycle for cycle in rows.cycles if cycle.cycle.promoted is not None]
    promoted = sum(bool(cycle.promoted) for cycle in judged)
    tiles.append(Tile("Challengers promoted", f"{promoted} of {len(judged)}"))
    return tiles


def _judged_by(rows: ReportRows) -> str:
    of = "of all models so far"
    return f"{of}, in frames that judge" if rows.frames.teaching else of


def _compared(rows: ReportRows, first: Model, last: Model) -> list[Tile]:
    tiles = [_in_the_field(rows, first, last)]
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


def _in_the_field(rows: ReportRows, first: Model, last: Model) -> Tile:
    """Frames that only one of them has looked at would count against it."""
    title, field = "Failures in the field", rows.field
    if first.id == last.id or not field.shared:
        after = field.failures.get(last.id, 0)
        note = f"of model {last.number} in {_frames(field.frames.get(last.id, 0))}"
        if first.id != last.id:
            note += f", none of which model {first.number} has looked at"
        return Tile(title, str(after), note=note)
    before, after = field.shared_failures[first.id], field.shared_failures[last.id]
    note = (
        f"of models {first.number} and {last.number} in the {_frames(field.shared)} that both "
        "have looked at"
    )
    return replace(Tile.compare(title, before, after, lower_is_better=True), note=note)


def _frames(count: int) -> str:
    return f"{count} frame{'' if count == 1 else 's'}"


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
    counted, frames = rows.field.failures.get(model.id, 0), rows.field.frames.get(model.id, 0)
    return f"{counted} in {_frames(frames)}" if counted or frames else "–"


def _figure(model: Model, role: str, name: str) -> Any:
    return (model.reports or {}).get(role, {}).get(name)


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _outcome(promoted: bool | None, state: str) -> str:
    return state if promoted is None else ("promoted" if promoted else "not promoted")
