"""What MLflow is told of a model: from its row, its dataset and the gate's verdict."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from services.db.tables import Cycle, DatasetVersion, Model
from services.mirror import figures
from services.plain import json_text

MODEL_TAG = "e2x.model"
"""By which a run is found again; its value is our id of the model."""
MAX_PARAM = 500
"""Characters of a parameter: what servers of before 2.8 take."""
MOST_LISTED = 20
_UNFIT = re.compile(r"[^\w\-. /]", re.ASCII)
CURVE = {"loss": "train/loss", "ap50": "validation/ap50"}
FIGURES = ("map", "map50", "objects", "found", "missed", "false_positives", "images")


@dataclass(frozen=True, slots=True)
class Point:
    """A measured value of a curve, at a step of the training."""

    name: str
    step: int
    value: float


@dataclass(frozen=True, slots=True)
class Told:
    """All that a run says.

    Attributes:
        model_id: our id.
        name: of the run.
        made_at: when the model was registered.
        folder: where its files lie.
        tags: what may change, such as the model's state.
        params: what it was trained with; they never change.
        curve: loss and AP50 by step.
        metrics: figures of the evaluations and of the gate.
        texts: files by name, such as the gate's table and the figures.
    """

    model_id: str
    name: str
    made_at: datetime
    folder: str
    tags: dict[str, str]
    params: dict[str, str]
    curve: list[Point] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


def told_of(session: Session, model: Model) -> Told:
    """What is to be said of a model now.

    Args:
        session: to read in.
        model: of the registry.
    """
    dataset = session.get(DatasetVersion, model.dataset_version_id or "")
    parent = session.get(Model, model.parent_id or "")
    decision = _decision(session, model)
    training = dict(model.training or {})
    history = training.pop("history", None) or {}
    tags = {
        MODEL_TAG: model.id,
        "e2x.number": str(model.number),
        "e2x.state": str(model.state),
        "e2x.cycle": "" if model.cycle_id is None else str(model.cycle_id),
        "e2x.parent": "" if parent is None else f"model {parent.number} ({parent.id})",
        "e2x.ended": str(history.get("ended", "")),
        "e2x.gate": "" if decision is None else ("passed" if decision["promote"] else "failed"),
    }
    params = {"architecture": model.architecture, "classes": ", ".join(model.class_names[1:])}
    if dataset is not None:
        params |= {
            "dataset.version": dataset.id,
            "dataset.images": str(dataset.images),
            "dataset.boxes": str(dataset.boxes),
            "dataset.drawn": str(dataset.generated),
        }
    params |= {f"training.{name}": value for name, value in _flat(training)}
    texts = {} if decision is None else {"gate.json": json_text(decision, indent=1)}
    drawn = {"training_curve.svg": figures.curve(f"Model {model.number}", history)}
    if decision is not None:
        drawn["gate.svg"] = figures.gate(f"Model {model.number}", decision)
    return Told(
        model_id=model.id,
        name=f"model-{model.number}",
        made_at=model.created_at,
        folder=model.folder,
        tags={name: text for name, text in tags.items() if text},
        params={key(name): text[:MAX_PARAM] for name, text in params.items() if text},
        curve=_curve(history),
        metrics={key(name): value for name, value in _metrics(model, history, decision)},
        texts=texts | {name: picture for name, picture in drawn.items() if picture},
    )


def key(name: str) -> str:
    """A name as MLflow takes it: letters, digits, ``_-. /``; 250 characters at most."""
    return _UNFIT.sub("_", name).strip("/. ")[:250] or "_"


def _decision(session: Session, model: Model) -> dict[str, Any] | None:
    """The newest verdict of a gate on this very model."""
    cycle = session.scalar(
        select(Cycle)
        .where(or_(Cycle.challenger_id == model.id, Cycle.rival_id == model.id))
        .order_by(Cycle.id.desc())
        .limit(1)
    )
    # Where two challengers came, the verdict is of the one that was chosen.
    if cycle is None or cycle.challenger_id != model.id:
        return None
    return cycle.decision


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield (
                f"{prefix}{name}",
                ", ".join(map(str, value)) if len(value) < 20 else str(len(value)),
            )
        elif value is not None:
            yield f"{prefix}{name}", str(value)


def _curve(history: Mapping[str, Any]) -> list[Point]:
    points = []
    for number, look in enumerate(history.get("looks", ()), 1):
        step = int(look["step"])
        for ours, name in CURVE.items():
            if look[ours] is not None:
                points.append(Point(name, step, float(look[ours])))
        if history.get("ended") == "epochs":  # a look is an epoch there
            points.append(Point("train/epoch", step, float(number)))
    return points


def _metrics(
    model: Model, history: Mapping[str, Any], decision: Mapping[str, Any] | None
) -> Iterator[tuple[str, float]]:
    if history.get("steps") is not None:
        yield "train/steps", float(history["steps"])
    for role, report in (model.reports or {}).items():
        for name in FIGURES:
            if report.get(name) is not None:
                yield f"{role}/{name}", float(report[name])
        for label, value in (report.get("per_class50") or {}).items():
            if value is not None:
                yield f"{role}/ap50/{label}", float(value)
    for check in (decision or {}).get("checks", ()):
        for side in ("champion", "challenger", "bound"):
            if check[side] is not None:
                yield f"gate/{check['name']}/{side}", float(check[side])
        if check["passed"] is not None:
            yield f"gate/{check['name']}/passed", float(check["passed"])
