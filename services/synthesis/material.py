"""What samples are drawn from, loaded once: pictures, and what the champion finds in them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import select

from curation import synthesis
from curation.kernel.errors import CurationError
from curation.kernel.manifest import ManifestItem
from curation.kernel.types import ImageArray, Truth
from curation.synthesis import CheckContext, Donor, Labelled, Missed
from services.context import Context
from services.db import sides
from services.db.convert import latest_annotations, truth_of
from services.db.engine import reading
from services.db.parts import in_parts
from services.db.tables import EVALUATION_ROLES, Annotation, FailureRow, Image, Role
from services.failures.findings import overlap_of
from services.failures.places import SAME_IOU
from services.store.storage import open_image
from services.store.superpixels import segments_of, shared_by_hosts
from services.synthesis.scope import Scope, ScopeMode

if TYPE_CHECKING:
    from retrain.detector import SsdDetector

logger = logging.getLogger(__name__)

MOST_PIXELS = 200_000_000
"""Of all pictures that are held at once, as many of them as known objects as of frames: 0.6 GB."""
BARELY = 0.05
"""Score from which the champion sees something at a place that is to be empty."""
ON_IT = 0.1
"""Overlap with a labelled object, from which a false detection may be that object."""
TEXTURES = 60
"""Pictures that tell how rough real ones are."""


class FailureUnusable(Exception):
    """Nothing can be drawn of a failure, though its frame can be read."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What a plan is made of.

    Attributes:
        misses: of the modes, each with its frame.
        donors: known objects.
        pictures: labelled ones, with places at which nothing stands; none where no mode of false
            detections wants them.
        context: what samples are held against.
        lost: failures and images that could not be opened, and why.
    """

    misses: tuple[Missed, ...]
    donors: tuple[Donor, ...]
    context: CheckContext
    pictures: tuple[Labelled, ...] = ()
    lost: tuple[str, ...] = ()


def load(context: Context, scope: Scope, detector: SsdDetector) -> Material:
    """Open the pictures of a scope, and let the champion look at those with known objects."""
    lost: list[str] = []
    names = detector.class_names
    pictures = tuple(_pictures(context, scope, detector, lost))
    donors = tuple(_donors(context, scope, detector, pictures))
    misses = tuple(_misses(context, scope.drawable, detector, lost))
    ids = {one.image for one in donors} | {one.image for one in misses}
    rules, wanted = context.settings.failures, context.settings.synthesis
    judging, hashes, kept = _judging(context, ids)
    logger.info(
        "%d misses, %d known objects of %d classes", len(misses), len(donors), len(names) - 1
    )
    rng = np.random.default_rng(scope.cycle.seed)
    shown = [one.pixels for one in donors[:TEXTURES] or pictures[:TEXTURES]]
    texture = synthesis.texture_bounds(shown, rng) if shown else (0.0, 0.0)
    held_against = CheckContext(
        champion=synthesis.finder(detector, rules.iou_threshold),
        barred=judging,
        evaluation_hashes=hashes,
        texture=texture,
        kept_hashes=kept,
        threshold=rules.score_threshold,
        min_reproduced=wanted.min_reproduced,
    )
    return Material(misses, donors, held_against, pictures, tuple(lost))


def _pictures(
    context: Context, scope: Scope, detector: SsdDetector, lost: list[str]
) -> Iterator[Labelled]:
    """Labelled pictures, and all that the champion sees in them."""
    images = _images(context, [item.image for item in scope.donors])
    for item, pixels in _opened(context, scope.donors, images, lost):
        (seen,) = detector.predict([pixels], BARELY)
        role: synthesis.Role = "field" if scope.roles[item.image] == Role.FIELD else "train"
        yield Labelled(item.image, role, pixels, item.truth(detector.class_names), seen)


def _donors(
    context: Context, scope: Scope, detector: SsdDetector, pictures: Sequence[Labelled]
) -> Iterator[Donor]:
    """Labelled objects that the champion finds, of the classes that are missed."""
    rules, names = context.settings.failures, detector.class_names
    missed = [mode for mode in scope.drawable if not mode.alike]
    wanted = {names.index(mode.label) for mode in missed if mode.label in names}
    for one in pictures:
        seen = one.seen.above(rules.score_threshold)
        for row, score in synthesis.found_rows(seen, one.truth, rules.iou_threshold):
            if int(one.truth.labels[row]) in wanted:
                yield Donor(one.image, one.role, one.pixels, one.truth, row, score)


def _opened(
    context: Context,
    items: Sequence[ManifestItem],
    images: Mapping[str, Image],
    lost: list[str],
) -> Iterator[tuple[ManifestItem, ImageArray]]:
    pixels_left = MOST_PIXELS // 2
    for item in items:
        pixels_left -= item.width_px * item.height_px
        if pixels_left < 0:
            return
        try:
            yield item, open_image(context, images[item.image])
        except (CurationError, OSError) as error:
            lost.append(f"image {item.image}: {error}")


def _misses(
    context: Context, modes: Sequence[ScopeMode], detector: SsdDetector, lost: list[str]
) -> Iterator[Missed]:
    names, pixels_left = detector.class_names, MOST_PIXELS // 2
    ids = {image.id for mode in modes for _, image in mode.failures}
    with reading(context.sessions) as session:
        truths = latest_annotations(session, sorted(ids))
    for mode in modes:
        for failure, image in mode.failures:
            pixels_left -= image.width_px * image.height_px
            if pixels_left < 0 or failure.label not in names:
                continue
            try:
                yield _missed(context, mode, failure, image, detector, truths.get(image.id))
            except (CurationError, OSError, FailureUnusable) as error:
                lost.append(f"failure {failure.id}: {error}")


def _missed(
    context: Context,
    mode: ScopeMode,
    failure: FailureRow,
    image: Image,
    detector: SsdDetector,
    annotation: Annotation | None,
) -> Missed:
    pixels, wanted = open_image(context, image), context.settings.explanation
    segments = segments_of(
        context.project.segments,
        image.id,
        pixels,
        detector.input_size_hw,
        wanted.num_segments,
        wanted.segmentation,
        shared_by_hosts(context),
    )
    x1, y1, x2, y2 = (float(side) for side in failure.box)
    truth = None if annotation is None else _others(failure, annotation, detector.class_names, mode)
    return Missed(
        mode=str(mode.id),
        failure=failure.id,
        image=image.id,
        role="field",
        pixels=pixels,
        segments=segments,
        box_xyxy=(x1, y1, x2, y2),
        label=detector.class_names.index(failure.label),
        truth=truth,
        alike=mode.alike,
    )


def _others(
    failure: FailureRow, annotation: Annotation, names: Sequence[str], mode: ScopeMode
) -> Truth:
    """What else is labelled in a frame: without the object that was missed.

    Raises:
        FailureUnusable: a false detection that lies on an object of its class.
    """
    objects = list(annotation.objects)
    if mode.alike:
        for entry in objects:
            if entry["label"] == failure.label and overlap_of(entry["box"], failure.box) > ON_IT:
                raise FailureUnusable(
                    f"it lies on a {entry['label']} that is labelled: what is seen there is that "
                    "object, twice or badly, and would be trained on as none"
                )
        return truth_of(objects, names)
    overlaps = [
        overlap_of(entry["box"], failure.box) if entry["label"] == failure.label else 0.0
        for entry in objects
    ]
    best = max(range(len(objects)), key=overlaps.__getitem__, default=None)
    if best is not None and overlaps[best] >= SAME_IOU:
        del objects[best]
    return truth_of(objects, names)


def _images(context: Context, ids: Sequence[str]) -> dict[str, Image]:
    found: dict[str, Image] = {}
    with reading(context.sessions) as session:
        for part in in_parts(list(ids)):
            rows = session.scalars(select(Image).where(Image.id.in_(part)))
            found |= {row.id: row for row in rows}
    return found


def _judging(
    context: Context, ids: set[str]
) -> tuple[frozenset[str], tuple[int, ...], tuple[int, ...]]:
    """Those of some images that judge, hashes of all that judge, and of all that was drawn.

    Asked anew, and not of the scope: it is the check on it.
    """
    judges = Image.role.in_(EVALUATION_ROLES) | ((Image.role == Role.FIELD) & ~sides.is_parent())
    with reading(context.sessions) as session:
        barred = set[str]()
        for part in in_parts(sorted(ids)):
            barred |= set(session.scalars(select(Image.id).where(Image.id.in_(part), judges)))
        barred |= sides.kept_for_judges(session, {}).images & ids
        evaluating = set(
            session.scalars(select(Image.perceptual_hash).where(Image.role.in_(EVALUATION_ROLES)))
        )
        drawn = session.scalars(select(Image.perceptual_hash).where(Image.role == Role.GENERATED))
        kept = tuple(int(text, 16) for text in drawn)
        frames = sides.kept_for_judges(session, {}).hashes
    hashes = {int(text, 16) for text in evaluating} | set(frames)
    return frozenset(barred), tuple(sorted(hashes)), kept
