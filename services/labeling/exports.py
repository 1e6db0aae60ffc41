"""Dataset versions and failures for other tools, file by file: COCO, YOLO, VOC."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from sqlalchemy import select

from curation import draw
from curation.formats.export import Format, Labelled, Sample, cannot_say, image_path, texts
from curation.kernel import images
from curation.kernel.manifest import Manifest
from services.context import Context
from services.db.engine import reading
from services.db.parts import in_parts
from services.db.tables import TAKEN_BACK, DatasetVersion, Explanation, FailureRow, Image, Model
from services.errors import NotFound
from services.models.datasets import read_version
from services.models.differences import LOST
from services.store import drawings
from services.store.project_store import ObjectDamaged, store_of
from services.store.storage import key_of
from services.store.zip_stream import Member

MAPS = "attributions"
NEUTRAL = 128
"""In a map's picture: what neither supports nor hurts; 255 supports most, 1 hurts most."""


@dataclass(frozen=True, slots=True)
class Export:
    """What is exported.

    Attributes:
        name: of the archive or folder.
        members: its files, made as they are asked for.
        notes: what the format cannot say.
        images: how many.
    """

    name: str
    members: Iterator[Member]
    notes: tuple[str, ...]
    images: int


def find_version(context: Context, name: str) -> DatasetVersion:
    """A dataset version by its id or the start of it; "" or ``latest`` for the newest.

    Raises:
        NotFound: there is none, or the start fits several.
    """
    query = select(DatasetVersion).order_by(DatasetVersion.created_at.desc()).limit(2)
    if name not in ("", "latest"):
        if not (name.isascii() and name.isalnum() and len(name) <= 64):
            raise NotFound(f"no dataset version {name!r}")
        query = query.where(DatasetVersion.id.startswith(name))
    with reading(context.sessions) as session:
        rows = session.scalars(query).all()
    if not rows or (name not in ("", "latest") and len(rows) > 1):
        many = "more than one dataset version begins" if rows else "no dataset version begins"
        raise NotFound(f"{many} with {name!r}" if name else "there is no dataset version yet")
    return rows[0]


def dataset(context: Context, row: DatasetVersion, fmt: Format, with_images: bool) -> Export:
    """A dataset version with its labels as they were then.

    Raises:
        NotFound: its manifest is lost.
    """
    try:
        manifest = read_version(context, row)
    except FileNotFoundError as error:
        raise NotFound(LOST) from error
    names = _names(manifest)
    info = {"description": f"Explain-to-Fix dataset {row.id}", "e2x_dataset": row.id}

    def samples() -> Iterator[Sample]:
        for item in manifest.items:
            objects = [
                Labelled(box, label, ignore)
                for box, label, ignore in zip(
                    item.boxes_xyxy, item.labels, item.ignore, strict=True
                )
            ]
            more = {
                "e2x_group": item.group,
                "e2x_revision": item.revision,
                "e2x_origin": item.origin,
            }
            name = _file_name(item.image, item.file)
            yield Sample(name, item.width_px, item.height_px, objects, more)

    files = ((item.image, item.file) for item in manifest.items) if with_images else iter(())
    members = _members(context, fmt, samples, names, info, files)
    return Export(f"dataset-{row.id[:12]}-{fmt}", members, _notes(fmt), len(manifest.items))


def _names(manifest: Manifest) -> list[str]:
    """Classes of the version, and what else its labels say."""
    known = list(manifest.class_names[1:])
    return known + sorted({label for item in manifest.items for label in item.labels} - {*known})


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which failures; None takes all of them.

    Attributes:
        state: None: all that are failures still.
        model: number.
        mode: number.
    """

    state: str | None = None
    model: int | None = None
    mode: int | None = None


def failures(
    context: Context, wanted: Wanted, fmt: Format, with_images: bool, with_maps: bool = True
) -> Export:
    """Failures in their frames; as COCO with all that is known, and their maps as pictures.

    Ids are held, everything else is read frame by frame.
    """
    query = (
        select(FailureRow.image_id, FailureRow.id)
        .join(Model, Model.id == FailureRow.model_id)
        .order_by(FailureRow.image_id, FailureRow.id)
    )
    if wanted.state is None:
        query = query.where(FailureRow.state.not_in(TAKEN_BACK))
    else:
        query = query.where(FailureRow.state == wanted.state)
    if wanted.model is not None:
        query = query.where(Model.number == wanted.model)
    if wanted.mode is not None:
        query = query.where(FailureRow.mode_id == wanted.mode)
    with reading(context.sessions) as session:
        pairs = [(image, failure) for image, failure in session.execute(query)]
        labels = select(FailureRow.label).distinct()
        names = sorted(set(session.scalars(labels)))
        numbers = {one.id: one.number for one in session.scalars(select(Model))}
    frames = [(image, [one for _, one in each]) for image, each in groupby(pairs, lambda p: p[0])]
    maps = with_maps and fmt == "coco"

    def samples() -> Iterator[Sample]:
        for part in in_parts(frames, 50):
            yield from _frames(context, part, numbers, maps)

    files = _files(context, [image for image, _ in frames]) if with_images else iter(())
    info = {
        "description": "Explain-to-Fix failures",
        "e2x_map": f"{MAPS}/*.png: {NEUTRAL} neutral, above supports the class, below hurts it",
    }
    members = _members(context, fmt, samples, names, info, files)
    if maps:
        members = _and(members, _maps(context, [one for _, one in pairs]))
    return Export(f"failures-{fmt}", members, _notes(fmt), len(frames))


def _frames(
    context: Context,
    part: Iterable[tuple[str, list[str]]],
    numbers: Mapping[str, int],
    maps: bool,
) -> Iterator[Sample]:
    ids = [one for _, each in part for one in each]
    with reading(context.sessions) as session:
        rows = {
            row.id: row
            for some in in_parts(ids)
            for row in session.scalars(select(FailureRow).where(FailureRow.id.in_(some)))
        }
        explained = {
            one.failure_id: one
            for some in in_parts(ids)
            for one in session.scalars(
                select(Explanation)
                .where(Explanation.failure_id.in_(some))
                .order_by(Explanation.created_at)
            )
        }
        pictures = {
            image.id: image
            for image in session.scalars(select(Image).where(Image.id.in_([i for i, _ in part])))
        }
    for image_id, each in part:
        image = pictures[image_id]
        objects = [
            _object(rows[one], explained.get(one), numbers, maps) for one in each if one in rows
        ]
        more = {"e2x_name": image.name, "e2x_group": image.group, "e2x_source": image.source}
        name = _file_name(image.id, image.file)
        yield Sample(name, image.width_px, image.height_px, objects, more)


def _object(
    row: FailureRow, explanation: Explanation | None, numbers: Mapping[str, int], maps: bool
) -> Labelled:
    more: dict[str, Any] = {
        "score": row.score,
        "e2x_failure": row.id,
        "e2x_kind": row.kind,
        "e2x_state": row.state,
        "e2x_predicted": row.predicted_label,
        "e2x_mechanism": row.mechanism,
        "e2x_iou": row.iou,
        "e2x_model": numbers.get(row.model_id),
        "e2x_mode": row.mode_id,
        "e2x_default_box": row.default_box,
    }
    if explanation is not None:
        more |= {
            "e2x_method": explanation.method,
            "e2x_explained_score": explanation.score,
            "e2x_baseline_score": explanation.baseline_score,
            "e2x_regions": [
                {
                    "bbox": _xywh(one["box"]),
                    "weight": one["weight"],
                    "only_with": one.get("only_with"),
                }
                for one in explanation.regions
            ],
        }
        if maps:
            more["e2x_map"] = f"{MAPS}/{row.id}.png"
    return Labelled(drawings.box_of(row), row.label, False, more)


def _xywh(box: list[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)]


def _maps(context: Context, ids: list[str]) -> Iterator[Member]:
    """The map of each explained failure as a grey picture on the grid of the network's input."""
    lost = []
    for failure_id in ids:
        with reading(context.sessions) as session:
            row = session.get(FailureRow, failure_id)
            explanation = drawings.newest_explanation(session, failure_id)
        if row is None or explanation is None:
            continue
        try:
            attribution = drawings.attribution_of(context, row, explanation)
        except FileNotFoundError:
            lost.append(f"{MAPS}/{failure_id}.png")
            continue
        grey = np.round(NEUTRAL + (NEUTRAL - 1) * draw.strength(attribution)).astype(np.uint8)
        yield Member(f"{MAPS}/{failure_id}.png", [images.encode_png(np.stack([grey] * 3, 2))], True)
    if lost:
        yield _told_lost("LOST_MAPS.txt", lost)


def _files(context: Context, ids: list[str]) -> Iterator[tuple[str, str]]:
    for part in in_parts(ids):
        with reading(context.sessions) as session:
            query = select(Image.id, Image.file).where(Image.id.in_(part)).order_by(Image.id)
            found = session.execute(query).all()
        yield from ((identity, file) for identity, file in found)


def _members(
    context: Context,
    fmt: Format,
    samples: Callable[[], Iterable[Sample]],
    names: list[str],
    info: Mapping[str, Any],
    files: Iterable[tuple[str, str]],
) -> Iterator[Member]:
    for path, data in texts(fmt, samples, names, info):
        yield Member(path, data)
    store, lost = store_of(context), []
    for identity, file in files:
        name = image_path(fmt, _file_name(identity, file))
        try:
            picture = store.get(key_of(context, context.project.images, file))
        except (FileNotFoundError, ObjectDamaged):
            lost.append(name)
        else:
            yield Member(name, [picture], is_packed=True)
    if lost:
        yield _told_lost("LOST.txt", lost)


def _told_lost(name: str, lost: list[str]) -> Member:
    told = "Their files are missing or damaged; restore them from a backup and export again:\n"
    return Member(name, [(told + "\n".join(lost) + "\n").encode()])


def _and(first: Iterator[Member], second: Iterator[Member]) -> Iterator[Member]:
    yield from first
    yield from second


def _file_name(identity: str, file: str) -> str:
    return f"{identity}{PurePosixPath(file).suffix}"


def _notes(fmt: Format) -> tuple[str, ...]:
    note = cannot_say(fmt)
    return (note,) if note else ()
