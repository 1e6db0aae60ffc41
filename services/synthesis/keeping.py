"""Drawn samples to rows and files: a picture is there before the row that names it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.kernel.types import Truth
from curation.synthesis import Harm, Sample, Staging
from curation.synthesis.masks import run_lengths
from services.config import builders
from services.context import Context
from services.db import revisions
from services.db.base import utc_now
from services.db.parts import in_parts
from services.db.races import insert_new
from services.db.tables import (
    Annotation,
    GeneratedRow,
    HarmRow,
    Image,
    Role,
    SampleState,
    TruthSource,
)
from services.store.storage import StoredImage, put_image
from services.synthesis.provenance import libraries, record_of, signed_png
from services.synthesis.scope import Scope

CHECKS = "checks"
"""Who decides where no person does."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A sample whose picture lies in the store, if it has one; rows are all that is missing."""

    row: dict[str, Any]
    harm: dict[str, Any]
    image: StoredImage | None
    objects: list[dict[str, Any]]
    name: str


def prepare(
    context: Context, scope: Scope, samples: Sequence[Sample], names: Sequence[str]
) -> list[Prepared]:
    """Store the pictures of kept samples; what their rows will say.

    Args:
        context: wiring.
        scope: that they were drawn for.
        samples: decided on.
        names: of the champion's classes, background first.

    Raises:
        DiskFull: there is no space.
    """
    installed = libraries()
    return [_prepared(context, scope, one, names, installed) for one in samples]


def key_of(sample: Sample) -> str:
    """Equal keys are equal pixels: plan, generator, its version."""
    told = f"{sample.plan.key}:{sample.generator}:{sample.version}"
    return hashlib.sha256(told.encode()).hexdigest()


def _prepared(
    context: Context,
    scope: Scope,
    sample: Sample,
    names: Sequence[str],
    installed: dict[str, str],
) -> Prepared:
    plan = sample.plan
    mode = next(one for one in scope.modes if str(one.id) == plan.mode)
    harm = _harm(plan.harm, plan.failure or None, names)
    row = {
        "key": key_of(sample),
        "cycle_id": scope.cycle.id,
        "mode_id": mode.id,
        "failure_id": plan.failure or None,
        "model_id": scope.champion.id,
        "harm_id": harm["id"],
        "donor_id": plan.donor.image,
        "donor_box": _rounded(plan.donor.box_xyxy),
        "box": _here(sample),
        "staging": str(plan.staging),
        "generator": sample.generator,
        "generator_version": sample.version,
        "parameters": dict(sample.parameters),
        "libraries": installed,
        "seed": plan.seed,
    }
    told = {
        **row,
        "mode": mode.name,
        "parents": [
            {"image": one.image, "role": one.role, "part": one.part} for one in plan.parents
        ],
    }
    image, objects = None, list[dict[str, Any]]()
    if sample.image is not None and sample.truth is not None:
        limits = builders.image_limits(context.settings)
        image = put_image(context, signed_png(sample.image, told), limits)
        objects = _objects(sample.truth, names)
    return Prepared(
        row={
            **row,
            "image_id": None if image is None else image.id,
            "record": None if image is None else record_of(told),
            "score_before": sample.before,
            "score_after": sample.after,
            "checks": list(sample.rows),
            "state": _state(context, sample),
            "reason": sample.reason,
            "decided_by": CHECKS,
            "seconds": sample.seconds,
        },
        harm=harm,
        image=image,
        objects=objects,
        name=f"{mode.name} {row['key'][:8]}.png",
    )


def _here(sample: Sample) -> list[float] | None:
    """Where the known object is in the drawn picture, where that is not where it was."""
    if not sample.plan.staging.is_insert or sample.truth is None or not len(sample.truth):
        return None
    return _rounded(sample.truth.boxes_xyxy[0])


def _state(context: Context, sample: Sample) -> SampleState:
    if not sample.kept:
        return SampleState.REFUSED
    by_person = context.settings.synthesis.review == "person"
    return SampleState.DRAWN if by_person else SampleState.KEPT


def _harm(harm: Harm, failure: str | None, names: Sequence[str]) -> dict[str, Any]:
    content: dict[str, Any] = {
        "image_id": harm.image,
        "failure_id": failure,
        "box": _rounded(harm.box_xyxy),
        "label": names[harm.label],
        "light": harm.light,
        "mask": run_lengths(harm.mask),
    }
    if harm.vacant:
        content["vacant"] = True
    if harm.colours is not None:
        content["colours"] = [[float(value) for value in part] for part in harm.colours]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return {
        "id": hashlib.sha256(text.encode()).hexdigest(),
        "vacant": False,
        "colours": None,
        **content,
    }


def _objects(truth: Truth, names: Sequence[str]) -> list[dict[str, Any]]:
    rows = zip(truth.boxes_xyxy, truth.labels, truth.ignore, strict=True)
    return [
        {"box": _rounded(box), "label": names[label], "ignore": bool(ignore)}
        for box, label, ignore in rows
    ]


def _rounded(box: Sequence[float]) -> list[float]:
    return [round(float(side), 2) for side in box]


def store(session: Session, prepared: Sequence[Prepared]) -> int:
    """Write the rows of samples; one that is there already stays as it is.

    Returns:
        How many are new.
    """
    fresh = _new_ones(session, prepared)
    if not fresh:
        return 0
    now = utc_now()
    insert_new(
        session, HarmRow, list({one.harm["id"]: one.harm for one in fresh}.values()), ("id",)
    )
    pictures = [_image(one, one.image) for one in fresh if one.image is not None]
    insert_new(session, Image, pictures, ("id",))
    # The same bytes have been labelled before only if they are the same sample.
    known = _labelled(session, [one["id"] for one in pictures])
    labels = [
        Annotation(
            image_id=one.image.id,
            objects=one.objects,
            author=f"synthesis:{one.row['generator']}",
            source=TruthSource.DRAWN,
            cycle_id=one.row["cycle_id"],
            origin=one.row["failure_id"],
        )
        for one in fresh
        if one.image is not None and one.image.id not in known
    ]
    revisions.add(session, labels)
    rows = [{**one.row, "decided_at": now, "created_at": now} for one in fresh]
    insert_new(session, GeneratedRow, rows, ("cycle_id", "key"))
    return len(fresh)


def _new_ones(session: Session, prepared: Sequence[Prepared]) -> list[Prepared]:
    """Those that no row tells of yet; the first of equal ones."""
    by_key = {one.row["key"]: one for one in reversed(prepared)}
    known = set[str]()
    for part in in_parts(sorted(by_key)):
        query = select(GeneratedRow.key).where(
            GeneratedRow.cycle_id == prepared[0].row["cycle_id"], GeneratedRow.key.in_(part)
        )
        known |= set(session.scalars(query))
    return [one for key, one in reversed(by_key.items()) if key not in known]


def _labelled(session: Session, images: Sequence[str]) -> set[str]:
    found = set[str]()
    for part in in_parts(list(images)):
        query = select(Annotation.image_id).where(Annotation.image_id.in_(part))
        found |= set(session.scalars(query))
    return found


def _image(one: Prepared, image: StoredImage) -> dict[str, Any]:
    return {
        "id": image.id,
        "role": Role.GENERATED,
        "file": image.file,
        "name": one.name,
        "width_px": image.width_px,
        "height_px": image.height_px,
        "perceptual_hash": image.perceptual_hash,
        "group": "",
        "source": f"synthesis:{one.row['generator']}",
        "attributes": {"staging": str(Staging(one.row["staging"]))},
        "created_at": utc_now(),
    }
