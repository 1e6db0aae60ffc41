"""What people said in Label Studio, read from its annotations.

Source:
    Label Studio 1.23, JSON of its tasks: ``x``, ``y``, ``width`` and ``height`` of a rectangle are
    percent of the picture, (x, y) is its top left corner after the rotation; a skip is an
    annotation with ``was_cancelled``, whatever its ``result`` holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from curation.formats.numbers import number
from curation.formats.outlines import upright
from curation.kernel.errors import AnnotationsInvalid, CurationError
from services.labeling.connectors.protocol import Outgoing, Remote, Said, Sizes

RECTANGLES = "rectanglelabels"
PERCENT = 100.0
TASK, IMAGE, MARK = "e2x_task", "e2x_image", "e2x_mark"
"""Keys of a task's data: which task it is, of which image, and that it is ours."""
BESIDE = ("choices", "textarea", "rating", "number", "taxonomy")
"""What an adopted project may ask besides rectangles, and is nothing that lies in the picture."""


def task_body(task: Outgoing, layout: Mapping[str, Any], mark: str) -> dict[str, Any]:
    """A task as an import takes it, with its pre-labels as a prediction."""
    body: dict[str, Any] = {"data": data_of(task, layout, mark)}
    if task.prelabels:
        scores = [float(entry["score"]) for entry in task.prelabels if entry.get("score")]
        body["predictions"] = [
            {
                "model_version": task.model,
                "score": min(scores, default=0.0),
                "result": [
                    _region(f"{task.task_id}-{place}", entry, task.size_wh, layout)
                    for place, entry in enumerate(task.prelabels)
                ],
            }
        ]
    return body


def data_of(task: Outgoing, layout: Mapping[str, Any], mark: str) -> dict[str, Any]:
    """The data of a task: its picture, why it is asked for, and which it is."""
    return {
        layout["image"]: task.picture_url,
        "reason": task.reason or "asked for",
        TASK: task.task_id,
        IMAGE: task.image_id,
        MARK: mark,
        "e2x_name": task.name,
    }


def _region(
    key: str, entry: Mapping[str, Any], size_wh: tuple[int, int], layout: Mapping[str, Any]
) -> dict[str, Any]:
    width, height = size_wh
    x1, y1, x2, y2 = (float(value) for value in entry["box"])
    return {
        "id": key,
        "type": RECTANGLES,
        "from_name": layout["from_name"],
        "to_name": layout["to_name"],
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": float(entry.get("score") or 0.0),
        "value": {
            "x": PERCENT * x1 / width,
            "y": PERCENT * y1 / height,
            "width": PERCENT * (x2 - x1) / width,
            "height": PERCENT * (y2 - y1) / height,
            "rotation": 0,
            RECTANGLES: [entry["label"]],
        },
    }


def task_of(entry: Mapping[str, Any], mark: str) -> int | None:
    """Our number of a task of the tool; None where it is somebody else's."""
    data = entry.get("data")
    if not isinstance(data, Mapping) or data.get(MARK) != mark:
        return None
    told = data.get(TASK)
    return told if isinstance(told, int) and not isinstance(told, bool) else None


def remote_of(
    entry: Mapping[str, Any],
    mark: str,
    sizes: Sizes,
    layout: Mapping[str, Any],
    people: Mapping[int, str],
) -> Remote | None:
    """A task of the tool with what was said of it; None where it is not ours."""
    task_id = task_of(entry, mark)
    if task_id is None or task_id not in sizes:
        return None
    size_wh = sizes[task_id]
    said = tuple(said_of(one, size_wh, layout, people) for one in entry.get("annotations") or ())
    return Remote(
        remote_id=str(entry["id"]),
        task_id=task_id,
        image_id=str(entry["data"].get(IMAGE)),
        changed=moment_of(entry),
        said=said,
        begun=bool(entry.get("drafts") or entry.get("draft_exists")),  # of all, not only of ours
    )


def moment_of(entry: Mapping[str, Any], before_s: float = 0.0) -> str:
    """When something last changed, in a form of which the later is the greater text.

    The tool itself leaves out what is 0 behind the seconds.

    Args:
        entry: a task or an annotation.
        before_s: so many seconds earlier.
    """
    told = str(entry.get("updated_at") or entry.get("created_at") or "")
    moment = datetime.fromisoformat(told.replace("Z", "+00:00")) - timedelta(seconds=before_s)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def said_of(
    annotation: Mapping[str, Any],
    size_wh: tuple[int, int],
    layout: Mapping[str, Any],
    people: Mapping[int, str],
) -> Said:
    """One annotation; what cannot be read of it becomes its ``problem``."""
    skipped = bool(annotation.get("was_cancelled"))
    objects: list[dict[str, Any]] = []
    problem = ""
    if not skipped:
        try:
            objects = objects_of(annotation.get("result") or (), size_wh, layout)
        except CurationError as error:
            problem = str(error)
    return Said(
        key=str(annotation.get("id")),
        at=moment_of(annotation),
        author=_author(annotation.get("completed_by"), people),
        skipped=skipped,
        objects=objects,
        problem=problem,
        # The editor measures how long it took; the action that turns all predictions into
        # annotations does not.
        by_hand=annotation.get("lead_time") is not None and not annotation.get("bulk_created"),
        settled=bool(annotation.get("ground_truth")),
    )


def _author(told: Any, people: Mapping[int, str]) -> str:
    if isinstance(told, Mapping):
        return str(told.get("email") or f"user {told.get('id')}")
    return people.get(told, f"user {told}") if isinstance(told, int) else "somebody"


def objects_of(
    result: Sequence[Mapping[str, Any]], size_wh: tuple[int, int], layout: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The rectangles of an annotation.

    Returns:
        ``[{"box": [x1, y1, x2, y2] px, "label"}]``.

    Raises:
        AnnotationsInvalid: it has something else, a rotated rectangle, or is of another picture.
    """
    return [
        _object(region, place, size_wh)
        for place, region in enumerate(result, 1)
        if region.get("from_name") == layout["from_name"] or region.get("type") not in BESIDE
    ]


def _object(region: Mapping[str, Any], place: int, size_wh: tuple[int, int]) -> dict[str, Any]:
    where, value = f"object {place}", region.get("value")
    if region.get("type") != RECTANGLES or not isinstance(value, Mapping):
        raise AnnotationsInvalid(f"{where} is {str(region.get('type'))[:40]!r}, and no rectangle")
    labels = value.get(RECTANGLES)
    if not isinstance(labels, list) or len(labels) != 1:
        raise AnnotationsInvalid(f"{where} needs one class, it has {labels!r}"[:200])
    where = f"{where} ({str(labels[0])[:80]})"
    told = (region.get("original_width"), region.get("original_height"))
    if told != size_wh:
        raise AnnotationsInvalid(
            f"{where} is of a picture of {told[0]} x {told[1]} px, the image is "
            f"{size_wh[0]} x {size_wh[1]}"
        )
    if number(region.get("image_rotation", 0)) != 0:
        raise AnnotationsInvalid(f"{where} was drawn on a turned picture: turn it back")
    shares = [number(value.get(key)) for key in ("x", "y", "width", "height")]
    x, y, width, height = (-1.0 if share is None else share for share in shares)
    if None in shares:
        raise AnnotationsInvalid(f"{where} has no x, y, width and height")
    across, down = size_wh[0] / PERCENT, size_wh[1] / PERCENT
    box = [x * across, y * down, (x + width) * across, (y + height) * down]
    rotation = number(value.get("rotation", 0))
    if rotation is None:
        raise AnnotationsInvalid(f"{where} has a rotation that is no number")
    try:
        box = upright(_about_centre(box, rotation), rotation, False, size_wh).box_xyxy
    except AnnotationsInvalid as error:
        raise AnnotationsInvalid(
            f"{where} is rotated by {rotation:g} degrees, and boxes here are upright: draw it anew "
            '(canRotate="false" keeps rectangles upright)'
        ) from error
    return {"box": box, "label": labels[0]}


def _about_centre(box_xyxy: list[float], rotation_deg: float) -> list[float]:
    """The rectangle that is the same when it is rotated about its centre.

    Args:
        box_xyxy: before it is rotated about its top left corner, px.
        rotation_deg: clockwise.
    """
    if not rotation_deg:
        return box_xyxy
    x1, y1, x2, y2 = box_xyxy
    half_x, half_y, angle = (x2 - x1) / 2, (y2 - y1) / 2, math.radians(rotation_deg)
    middle_x = x1 + half_x * math.cos(angle) - half_y * math.sin(angle)
    middle_y = y1 + half_x * math.sin(angle) + half_y * math.cos(angle)
    return [middle_x - half_x, middle_y - half_y, middle_x + half_x, middle_y + half_y]
