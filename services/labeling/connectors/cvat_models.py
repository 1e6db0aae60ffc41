"""What is said to CVAT and heard from it, in the models of its SDK (``pip install e2x[cvat]``).

One CVAT task for each of ours, with one frame: whether somebody is done with an image is said by
the state of its job, and by nothing else. A frame without shapes in a job that is not completed has
not been looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cvat_sdk import models

from curation.formats.outlines import upright
from curation.kernel.errors import AnnotationsInvalid
from services.labeling.connectors.protocol import Outgoing, Remote, Said, Sizes

COMPLETED = "completed"
NEW = "new"
QUALITY = 100
"""Of the pictures that people are shown; CVAT would take 70."""
_NAME = re.compile(r"e2x ([0-9a-f]{16}) ([0-9]{1,18}) ([0-9a-f]{64})")


def project_request(name: str, classes: Sequence[str]) -> models.ProjectWriteRequest:
    """A project with a rectangle of each class."""
    return models.ProjectWriteRequest(name=name, labels=label_requests(classes))


def label_requests(classes: Sequence[str]) -> list[models.PatchedLabelRequest]:
    """Classes as labels that are rectangles."""
    return [models.PatchedLabelRequest(name=name, type="rectangle") for name in classes]


def task_request(task: Outgoing, project: int, mark: str) -> models.TaskWriteRequest:
    """A task whose name says which it is."""
    name = f"e2x {mark} {task.task_id} {task.image_id}"
    return models.TaskWriteRequest(name=name, project_id=project)


def data_request(task: Outgoing) -> models.DataRequest:
    """The picture, which CVAT loads by its signed address."""
    return models.DataRequest(
        image_quality=QUALITY, remote_files=[task.picture_url], use_cache=True
    )


def shapes_request(task: Outgoing, labels: Mapping[str, int]) -> models.LabeledDataRequest:
    """The pre-labels as shapes; those of a class that CVAT does not have are left out."""
    shapes = [
        models.LabeledShapeRequest(
            type=models.ShapeType("rectangle"),
            label_id=labels[entry["label"]],
            frame=0,
            points=[float(value) for value in entry["box"]],
            rotation=0.0,
            occluded=False,
            source="auto",
        )
        for entry in task.prelabels
        if entry["label"] in labels
    ]
    return models.LabeledDataRequest(shapes=shapes, tags=[], tracks=[])


def task_of(name: Any, mark: str) -> tuple[int, str] | None:
    """Our number and image of a task, by its name; None where it is somebody else's."""
    found = _NAME.fullmatch(str(name or ""))
    return (int(found[2]), found[3]) if found and found[1] == mark else None


def remote_of(
    job: models.JobRead,
    data: models.LabeledData | None,
    mark: str,
    sizes: Sizes,
    labels: Mapping[str, int],
) -> Remote | None:
    """A job as our task with what was said of it; None where it is not ours.

    Args:
        job: of one frame.
        data: its annotations; None where the job is not completed, and they say nothing.
        mark: tells our tasks from others'.
        sizes: of the images of our tasks, px.
        labels: CVAT's ids of the classes.
    """
    ours = task_of(getattr(job, "task_name", None), mark)
    if ours is None or ours[0] not in sizes:
        return None
    at = job.updated_date.isoformat() if job.updated_date else ""
    said: tuple[Said, ...] = ()
    if data is not None and is_done(job):
        author = str(job.assignee.username) if getattr(job, "assignee", None) else "somebody"
        names = {number: name for name, number in labels.items()}
        try:
            objects, problem = objects_of(data, names, sizes[ours[0]]), ""
        except AnnotationsInvalid as error:
            objects, problem = [], str(error)
        said = (Said(str(job.id), at, author, objects=objects, problem=problem),)
    begun = not is_done(job) and str(job.state) != NEW
    return Remote(str(job.task_id), ours[0], ours[1], at, said, begun)


def is_done(job: models.JobRead) -> bool:
    """Whether somebody says to be done with all frames of a job."""
    return str(job.state) == COMPLETED


def objects_of(
    data: models.LabeledData, names: Mapping[int, str], size_wh: tuple[int, int]
) -> list[dict[str, Any]]:
    """The rectangles of a frame.

    Returns:
        ``[{"box": [x1, y1, x2, y2] px, "label"}]``.

    Raises:
        AnnotationsInvalid: there is a track, another shape, or a rectangle that is rotated.
    """
    if data.tracks:
        raise AnnotationsInvalid("it has a track, and is no video")
    return [_object(shape, place, names, size_wh) for place, shape in enumerate(data.shapes, 1)]


def _object(
    shape: models.LabeledShape, place: int, names: Mapping[int, str], size_wh: tuple[int, int]
) -> dict[str, Any]:
    label = names.get(shape.label_id, f"label {shape.label_id}")
    where, kind = f"object {place} ({label})", str(shape.type.value)
    if kind != "rectangle" or len(shape.points) != 4:
        raise AnnotationsInvalid(f"{where} is a {kind}, and no rectangle")
    rotation = float(getattr(shape, "rotation", 0.0) or 0.0)
    try:  # CVAT turns rectangles about their centre
        box = upright([float(value) for value in shape.points], rotation, False, size_wh).box_xyxy
    except AnnotationsInvalid as error:
        raise AnnotationsInvalid(
            f"{where} is rotated by {rotation:g} degrees, and boxes here are upright: draw it anew"
        ) from error
    return {"box": box, "label": label}
