"""Which drawn samples are kept: a table of rows for each, and for each mode whether it works.

Read :func:`check`. A sample is kept only if no row fails. The row that matters is "reproduces": the
champion finds the known object in its own picture and fails it in the drawn one. That is a test of
what was blamed, by intervention; :func:`works` asks it of a whole mode, against controls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np

from curation.kernel.boxes import overlaps
from curation.kernel.images import hamming, perceptual_hash
from curation.kernel.types import Box, FloatArray, ImageArray
from curation.synthesis.base import Drawn
from curation.synthesis.geometry import place
from curation.synthesis.texture import roughness

Champion: TypeAlias = Callable[[Sequence[ImageArray], Sequence[Box], Sequence[int]], FloatArray]
"""Images, a box in each and its class, to the score [N] in 0..1 of the best detection of the class
that overlaps the box by half; 0 where there is none."""
VISIBLE = 0.6
"""Share of a known object's cutout that must be left to be seen."""
SAME_BOX = 0.9
"""Overlap of a sample's label with the box that the champion found the object by."""
REPEATS = 2000


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a sample's table.

    Attributes:
        name: what was looked at.
        value: measured; None where it does not apply.
        bound: what it had to keep to.
        passed: True, False, or None where it was skipped.
        reason: one sentence.
    """

    name: str
    value: float | None
    bound: float | None
    passed: bool | None
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A sample and its table."""

    drawn: Drawn
    rows: tuple[Row, ...]
    before: float
    after: float

    @property
    def kept(self) -> bool:
        """Whether no row fails."""
        return all(row.passed is not False for row in self.rows)

    @property
    def reason(self) -> str:
        """The first row that fails; "" for a kept sample."""
        failed = [f"{row.name}: {row.reason}" for row in self.rows if row.passed is False]
        return failed[0] if failed else ""

    def to_rows(self) -> list[dict[str, Any]]:
        """The table as plain JSON types."""
        return [asdict(row) for row in self.rows]


@dataclass(frozen=True, slots=True, eq=False)
class CheckContext:
    """What samples are held against.

    Attributes:
        champion: the detector whose failures these are.
        barred: ids of pictures that judge; none may be a parent.
        evaluation_hashes: perceptual hashes of pictures that judge.
        kept_hashes: of samples that were kept before.
        texture: least and greatest roughness of real picture parts, see
            :func:`~curation.synthesis.texture.texture_bounds`.
        threshold: working score of the champion.
        min_reproduced: loss of score from which a sample reproduces the failure.
        max_distance: bits by which near-duplicates differ at most.
        of_mode: similarity in -1..1 of a sample's hole to its mode, and the least that counts;
            None skips the row.
    """

    champion: Champion
    barred: Collection[str]
    evaluation_hashes: Sequence[int]
    texture: tuple[float, float]
    kept_hashes: Sequence[int] = ()
    threshold: float = 0.5
    min_reproduced: float = 0.3
    max_distance: int = 4
    of_mode: Callable[[Drawn], tuple[float, float] | None] | None = None


def check(drawn: Sequence[Drawn], context: CheckContext) -> list[Judged]:
    """The table of each sample, in their order.

    A known object must be found in its own picture and missed here; of a look-alike nothing must
    be seen at its place before, and an object of the class after.

    Samples of one call are also held against one another: of near-duplicates the first is kept.
    """
    before = _scores(context, [d.plan.donor.pixels for d in drawn], drawn, _origin)
    after = _scores(context, [d.image for d in drawn], drawn, _target)
    hashes = list(context.kept_hashes)
    judged = []
    for one, was, now in zip(drawn, before.tolist(), after.tolist(), strict=True):
        own = perceptual_hash(one.image)
        rows = (
            _intact(one),
            _picture(one, context),
            _boxes(one),
            _label(one),
            _parents(one, context),
            _unlike("unlike what judges", own, context.evaluation_hashes, context),
            _unlike("unlike other samples", own, hashes, context),
            _known(one, was, context),
            _reproduces(one, was, now, context),
            _of_mode(one, context),
        )
        judged.append(Judged(one, rows, was, now))
        if judged[-1].kept:
            hashes.append(own)
    return judged


def works(
    samples: Sequence[Judged], controls: Sequence[Judged], rng: np.random.Generator
) -> tuple[float, float, float]:
    """Reproduction of a mode's samples minus that of its controls, with a 95 % interval.

    Args:
        samples: of one mode, whether kept or not, of known objects that the champion finds.
        controls: of the same mode.
        rng: of the bootstrap.

    Returns:
        Difference of shares, and the ends of its interval; samples are resampled by the frame
        that hurt. (0, -1, 1) where either is empty.
    """
    frames = [one.drawn.plan.harm.image for one in samples]
    own, other = ([reproduced(one) for one in some] for some in (samples, controls))
    return above_controls(frames, own, other, rng)


def above_controls(
    frames: Sequence[str],
    own: Sequence[bool],
    controls: Sequence[bool],
    rng: np.random.Generator,
) -> tuple[float, float, float]:
    """The same, of flags: frames that hurt [N], which samples reproduced [N], which controls."""
    groups: dict[str, list[bool]] = {}
    for frame, flag in zip(frames, own, strict=True):
        groups.setdefault(frame, []).append(flag)
    other = np.array(controls, np.float64)
    if not groups or not len(other):
        return 0.0, -1.0, 1.0
    sums = np.array([(sum(g), len(g)) for g in groups.values()], np.float64)
    value = sums[:, 0].sum() / sums[:, 1].sum() - other.mean()
    drawn = sums[rng.integers(0, len(sums), (REPEATS, len(sums)))].sum(axis=1)
    control = other[rng.integers(0, len(other), (REPEATS, len(other)))].mean(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1] - control, [0.025, 0.975])
    return float(value), float(low), float(high)


def reproduced(one: Judged) -> bool:
    """Whether the row says so."""
    return any(row.name == REPRODUCES and row.passed for row in one.rows)


REPRODUCES = "reproduces the failure"


def _scores(
    context: CheckContext,
    images: Sequence[ImageArray],
    drawn: Sequence[Drawn],
    where: Callable[[Drawn], tuple[Box, int]],
) -> FloatArray:
    """Of the sample's object in these pictures, by the label that the sample would train on."""
    boxes, labels = [], []
    for one in drawn:
        box, label = where(one)
        boxes.append(box)
        labels.append(label)
    return context.champion(images, boxes, labels) if len(drawn) else np.zeros(0, np.float32)


def _target(one: Drawn) -> tuple[Box, int]:
    row, truth = one.staged.row, one.staged.truth
    if row is None or row >= len(truth):
        return one.plan.donor.box_xyxy, one.plan.harm.label
    x1, y1, x2, y2 = (float(side) for side in truth.boxes_xyxy[row])
    return (x1, y1, x2, y2), int(truth.labels[row])


def _origin(one: Drawn) -> tuple[Box, int]:
    """Where that object is in its own picture: where the sample's label is, unless it moved."""
    box, label = _target(one)
    return (one.plan.donor.box_xyxy if one.plan.staging.is_insert else box), label


def _wanted(one: Drawn) -> Box:
    """Where the object must be labelled."""
    donor, harm = one.plan.donor, one.plan.harm
    if not one.plan.staging.is_insert:
        return donor.box_xyxy
    moved = place(donor.box_xyxy, harm.box_xyxy).boxes(np.array([donor.box_xyxy], np.float32))
    height, width = one.image.shape[:2]
    x1, y1, x2, y2 = (float(side) for side in np.clip(moved[0], 0, (width, height) * 2))
    return x1, y1, x2, y2


def _intact(one: Drawn) -> Row:
    name, base = "integrity", one.staged.base
    if one.image.shape != base.shape or one.image.dtype != np.uint8:
        reason = f"the picture is {one.image.shape} {one.image.dtype}, not {base.shape} uint8"
        return Row(name, None, 0.0, False, reason)
    stays = one.staged.keep >= 1
    change = np.abs(one.image.astype(np.int16) - base)[stays]
    most = float(change.max()) if change.size else 0.0
    return Row(name, most, 0.0, most == 0, "pixels that had to stay changed" if most else "")


def _picture(one: Drawn, context: CheckContext) -> Row:
    """Whether what fills the hole has the roughness of a picture: not black, flat or noise."""
    name, hole = "a picture", one.staged.hole
    low, high = context.texture
    if one.image.shape[:2] != hole.shape:
        return Row(name, None, low, None, "skipped: not of the picture's size")
    if not hole.any():
        fine = one.plan.harm.light
        return Row(name, 0.0, low, fine, "" if fine else "nothing was put into it")
    # Without its seam: black pixels of a ragged shape are as rough at their edge as any picture.
    inside = cv2.erode(hole.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
    value = float(roughness(one.image)[inside if inside.any() else hole].mean())
    passed = low <= value <= high
    reason = f"roughness must lie in {low:.1f}..{high:.1f}, as in real pictures"
    return Row(name, value, low, passed, "" if passed else reason)


def _boxes(one: Drawn) -> Row:
    truth, (height, width) = one.staged.truth, one.image.shape[:2]
    boxes = truth.boxes_xyxy
    bad = (boxes[:, :2] < 0).any(1) | (boxes[:, 2:] > (width, height)).any(1)
    bad |= (boxes[:, 2:] - boxes[:, :2] < 1).any(1)
    reason = f"{int(bad.sum())} of {len(boxes)} boxes leave the picture or are empty"
    return Row("boxes", float(bad.sum()), 0.0, not bool(bad.any()), reason if bad.any() else "")


def _label(one: Drawn) -> Row:
    """Whether the label is that of the known object, which is still to be seen."""
    name, row = "label", one.staged.row
    if one.plan.staging.is_alike:
        if row is None:
            return Row(name, None, None, None, "skipped: a look-alike has none")
        return Row(name, None, None, False, "a look-alike is labelled")
    donor = one.plan.donor
    if row is None or row >= len(one.staged.truth) or one.staged.truth.ignore[row]:
        return Row(name, None, SAME_BOX, False, "the known object has no label")
    box, label = _target(one)
    wanted = _wanted(one)
    overlap = float(overlaps(box, np.array([wanted], np.float64))[0])
    if overlap < SAME_BOX or label != donor.label:
        return Row(name, overlap, SAME_BOX, False, "the label is not that of the known object")
    x1, y1, x2, y2 = (round(side) for side in wanted)
    part = slice(max(0, y1), y2), slice(max(0, x1), x2)
    changed = (one.staged.keep[part] < 0.5) & ~one.staged.hole[part]
    visible = 1 - float(changed.mean()) if changed.size else 0.0
    return Row(name, visible, VISIBLE, visible >= VISIBLE, "" if visible >= VISIBLE else "hidden")


def _parents(one: Drawn, context: CheckContext) -> Row:
    bad = sorted({p.image for p in one.plan.parents} & set(context.barred))
    reason = f"{bad[0]} judges models and may not give pixels" if bad else ""
    return Row("parents", float(len(bad)), 0.0, not bad, reason)


def _unlike(name: str, own: int, others: Sequence[int], context: CheckContext) -> Row:
    bound = context.max_distance + 1
    if not len(others):
        return Row(name, None, float(bound), None, "skipped: there are none")
    nearest = min(hamming(own, other) for other in others)
    passed = nearest >= bound
    reason = "" if passed else f"differs in {nearest} bits from one"
    return Row(name, float(nearest), float(bound), passed, reason)


def _known(one: Drawn, before: float, context: CheckContext) -> Row:
    name = "known object"
    if one.plan.staging.is_alike:
        empty = before < context.threshold
        reason = "" if empty else "the champion sees one there before anything is put there"
        return Row("nothing there", before, context.threshold, empty, reason)
    passed = before >= context.threshold
    reason = "" if passed else "the champion does not find it in its own picture"
    return Row(name, before, context.threshold, passed, reason)


def _reproduces(one: Drawn, before: float, after: float, context: CheckContext) -> Row:
    if one.plan.staging.is_alike:
        passed = before < context.threshold <= after
        if one.plan.staging.is_control:
            return Row(REPRODUCES, after, None, passed or None, "of a control: it need not")
        reason = "" if passed else "the champion sees nothing there"
        return Row(REPRODUCES, after, context.threshold, passed, reason)
    lost = before - after
    passed = before >= context.threshold and (
        after < context.threshold or lost >= context.min_reproduced
    )
    if one.plan.staging.is_control:
        return Row(REPRODUCES, lost, None, passed or None, "of a control: it need not")
    reason = "" if passed else "the champion still finds the object"
    return Row(REPRODUCES, lost, context.min_reproduced, passed, reason)


def _of_mode(one: Drawn, context: CheckContext) -> Row:
    name = "of its mode"
    found = None if context.of_mode is None else context.of_mode(one)
    if found is None or one.plan.staging.is_control:
        return Row(name, None, None, None, "skipped: nothing to hold it against")
    value, bound = found
    reason = "" if value >= bound else "unlike what hurts in its mode"
    return Row(name, value, bound, value >= bound, reason)
