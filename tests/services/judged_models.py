"""A cycle at its gate, and models whose evaluations lie on the disk: no network is needed."""

from __future__ import annotations

import json
from dataclasses import replace

from sqlalchemy.orm import Session

from benchmarks.common.projects import make_model
from retrain.config import DetectorConfig
from retrain.description import CONFIG_FILE
from retrain.report import ClassMetrics, EvaluationReport, ObjectOutcome
from services import units
from services.context import Context
from services.db.tables import Annotation, Cycle, CycleState, Model, Role
from services.models import datasets, evaluation
from services.units import Claim
from tests.services.builders import make_image

OBJECTS = 20
"""Objects of the holdout, one an image."""


def add_holdout(session: Session, label: str = "car") -> None:
    """Evaluation images with an object each, and a car in the seed set, which names the class."""
    for number in range(OBJECTS + 1):
        role = Role.SEED if number == OBJECTS else Role.HOLDOUT
        name = "car" if role is Role.SEED else label
        objects = [{"box": [1.0, 1.0, 9.0, 9.0], "label": name, "ignore": False}]
        session.add(image := make_image(500 + number, role))
        session.flush()
        session.add(Annotation(image_id=image.id, objects=objects))
    session.flush()


def add_judged(
    session: Session,
    context: Context,
    number: int,
    quality: float | None,
    more_classes: tuple[str, ...] = (),
) -> Model:
    """A model that finds every car of the holdout, with this AP.

    Args:
        session: the caller's transaction.
        context: wiring.
        number: of the model.
        quality: its AP, in 0..1; None: the holdout has no car.
        more_classes: that it knows beside cars.
    """
    model = make_model(number, class_names=["background", "car", *more_classes])
    session.add(model)
    session.flush()
    add_report(session, context, model, quality)
    return model


def add_report(session: Session, context: Context, model: Model, quality: float | None) -> None:
    """What :func:`add_judged` says of a model, for one that is stored."""
    manifest = datasets.labelled_set(session, Role.HOLDOUT)
    cars = () if quality is None else manifest.items
    outcomes = (ObjectOutcome(item.image, 0, "car", True, 0.9) for item in cars)
    report = EvaluationReport(
        detector_version=model.id,
        manifest_version=manifest.version,
        class_names=("background", "car"),
        score_threshold=0.5,
        iou_threshold=0.5,
        map=quality,
        map50=quality,
        per_class={"car": ClassMetrics(quality, quality, len(cars))},
        per_size={},
        per_size50={},
        objects=tuple(outcomes),
        num_images=OBJECTS,
    )
    folder = context.project.root / model.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / CONFIG_FILE).exists():  # default boxes are compared with objects
        config = DetectorConfig(model.architecture, tuple(model.class_names))
        told = {"version": model.id, "detector": config.to_dict()}
        (folder / CONFIG_FILE).write_text(json.dumps(told))
    # also what it is compared by with a model that knows cars alone
    for names in (tuple(model.class_names), report.class_names):
        key = evaluation.report_key(context, manifest, names)
        replace(report, class_names=names).write(folder / f"report-{key}.json")


def add_gating_cycle(session: Session, champion: Model, challenger: Model) -> tuple[int, int]:
    """A cycle whose challenger is to be judged; numbers of the cycle and of its gate's unit."""
    cycle = Cycle(
        policy="e2x",
        budget_boxes=9,
        champion_id=champion.id,
        challenger_id=challenger.id,
        state=CycleState.GATING,
    )
    session.add(cycle)
    session.flush()
    key = f"gate:cycle:{cycle.id}:0"
    unit = units.enqueue(session, "gate", key, {"cycle": cycle.id}, cycle_id=cycle.id)
    return cycle.id, unit.id


def claimed(context: Context, unit_id: int) -> Claim:
    """The right to work on a unit."""
    with context.sessions.begin() as session:
        claim = units.claim(session, unit_id, "test", 600.0)
    assert claim is not None
    return claim
