"""Pictures of failures from their rows, and the arrays that these are drawn from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import draw
from curation.explain.what import OFFSETS
from curation.kernel import images
from curation.kernel.types import Attribution, Box, FailureKind, ImageArray, Region, ScoreTarget
from services.context import Context
from services.db.tables import AskedExplanation, Explanation, FailureRow, Image
from services.errors import NotFound
from services.store.storage import key_of, open_image, read_arrays


def explanation_arrays(
    context: Context,
    explanation: Explanation | AskedExplanation,
    only: Collection[str] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an explanation. Args and errors as of :func:`services.store.storage.read_npz`.

    Raises:
        NotAllowed: the row names a file outside the project.
    """
    key = key_of(context, context.project.explanations, str(explanation.file))
    return read_arrays(context, key, only)


def stored_arrays(found: Attribution) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an attribution by the names that :func:`attribution_of` reads them by."""
    some = {
        "pixels": found.pixels,
        "region_values": found.region_values,
        "region_errors": found.region_errors,
    }
    return {name: array for name, array in some.items() if array is not None} | {
        "notes": np.array(found.notes, np.str_),
        "segments": found.segments,
        "values": found.values,
        "standard_errors": found.standard_errors,
    }


def stored_regions(regions: Sequence[Region]) -> list[dict[str, Any]]:
    """Regions as the column of an explanation holds them."""
    return [
        {
            "box": [round(v, 1) for v in one.box_xyxy],
            "weight": round(one.weight, 4),
            "only_with": one.only_with,
        }
        for one in regions
    ]


def attribution_of(
    context: Context, failure: FailureRow, explanation: Explanation | AskedExplanation
) -> Attribution:
    """A stored attribution, arrays and all.

    Raises:
        NotFound: it was asked for, and is not answered yet.
    """
    if explanation.file is None or explanation.score is None or explanation.baseline_score is None:
        raise NotFound(f"explanation {explanation.id[:12]} is not answered yet")
    arrays = explanation_arrays(context, explanation)
    return Attribution(
        target=ScoreTarget(failure.default_box, 0),
        segments=arrays["segments"],
        values=arrays["values"],
        standard_errors=arrays["standard_errors"],
        score=explanation.score,
        baseline_score=explanation.baseline_score,
        method=explanation.method,
        parameters=explanation.parameters,
        pixels=arrays.get("pixels"),
        notes=tuple(str(note) for note in arrays.get("notes", ())),
        region_values=arrays.get("region_values"),
        region_errors=arrays.get("region_errors"),
    )


def newest_explanation(session: Session, failure_id: str) -> Explanation | None:
    """The latest explanation of a failure."""
    return session.scalar(
        select(Explanation)
        .where(Explanation.failure_id == failure_id)
        .order_by(Explanation.created_at.desc())
        .limit(1)
    )


def overlay_png(session: Session, context: Context, failure: FailureRow) -> bytes:
    """The frame with the failed box; red supports it, blue hurts it.

    Raises:
        NotFound: it is not explained yet.
    """
    explanation = newest_explanation(session, failure.id)
    if explanation is None:
        raise NotFound(f"failure {failure.id[:12]} is not explained yet")
    frame = _frame(session, context, failure)
    drawn = draw.overlay(
        frame, attribution_of(context, failure, explanation), box_of(failure), caption(failure)
    )
    return images.encode_png(drawn)


def _frame(session: Session, context: Context, failure: FailureRow) -> ImageArray:
    image = session.get_one(Image, failure.image_id)
    try:
        return open_image(context, image)
    except FileNotFoundError as error:
        raise NotFound(f"the picture of frame {image.name} is lost: {error}") from error


def asked_boxes(
    context: Context, failure: FailureRow, asked: AskedExplanation
) -> list[tuple[Box, draw.Colour, str]]:
    """What is outlined over an answer: the failed box; of an offset where the box went, too."""
    own = (box_of(failure), draw.DETECTED, caption(failure))
    if asked.question not in OFFSETS or asked.file is None:
        return [own]
    x1, y1, x2, y2 = (
        float(value) for value in explanation_arrays(context, asked, ["boxes"])["boxes"][1]
    )
    moved = ((x1, y1, x2, y2), draw.DETECTED, "where it is put")
    if failure.kind == FailureKind.FALSE_POSITIVE:
        return [moved]
    return [(box_of(failure), draw.TRUTH, "the object"), moved]


def asked_png(session: Session, context: Context, asked: AskedExplanation) -> bytes:
    """The frame under an answer; red supports what was asked.

    Raises:
        NotFound: it is not answered yet.
    """
    failure = session.get_one(FailureRow, asked.failure_id)
    frame = _frame(session, context, failure)
    drawn = draw.overlay(frame, attribution_of(context, failure, asked))
    marks = asked_boxes(context, failure, asked)
    return images.encode_png(
        draw.boxes(drawn, [m[0] for m in marks], [m[1] for m in marks], [m[2] for m in marks])
    )


def box_of(failure: FailureRow) -> Box:
    """The failed box, px of the frame."""
    x1, y1, x2, y2 = (float(value) for value in failure.box)
    return (x1, y1, x2, y2)


def caption(failure: FailureRow) -> str:
    """What is written at the box."""
    words = {
        "false_negative": f"missed {failure.label}",
        "false_positive": f"no {failure.label}",
        "wrong_class": f"{failure.label}, not {failure.predicted_label}",
        "bad_localisation": f"{failure.label}, off",
    }
    return f"{words[failure.kind]} {failure.score:.0%}"
