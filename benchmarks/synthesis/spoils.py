"""Ways to spoil a drawn sample: what a generator, a label or a parent can do wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from curation.kernel.types import FloatArray, ImageArray, Truth
from curation.synthesis import Donor, Drawn


@dataclass(frozen=True, slots=True, eq=False)
class Spoiler:
    """What spoiling needs beside the sample.

    Attributes:
        rng: of what is drawn by lot.
        judge: id of a picture that judges.
        pictures: that judge.
    """

    rng: np.random.Generator
    judge: str
    pictures: Sequence[ImageArray]


Spoil: TypeAlias = Callable[[Drawn, Spoiler], Drawn]


def shifted(one: Drawn, by: Spoiler) -> Drawn:
    """The label lies half a box beside the object."""
    boxes = one.staged.truth.boxes_xyxy.copy()
    row, half = one.staged.row or 0, (boxes[one.staged.row or 0] @ [-1, 0, 1, 0]) / 2
    fits = boxes[row, 2] + half <= one.image.shape[1]
    boxes[row, [0, 2]] += half if fits else -half
    return labelled(one, boxes)


def wrong_box(one: Drawn, by: Spoiler) -> Drawn:
    """The label is somewhere else."""
    boxes = one.staged.truth.boxes_xyxy.copy()
    boxes[one.staged.row or 0] = (2, 2, 20, 18)
    return labelled(one, boxes)


def mislabelled_donor(one: Drawn, by: Spoiler) -> Drawn:
    """The known object's own label is off: the sample inherits it."""
    bad, donor = shifted(one, by), one.plan.donor
    if not isinstance(donor, Donor):
        raise TypeError("a scene without an object has no label that could be off")
    boxes = donor.truth.boxes_xyxy.copy()
    boxes[donor.row] = bad.staged.truth.boxes_xyxy[bad.staged.row or 0]
    truth = Truth(boxes, donor.truth.labels, donor.truth.ignore)
    return replace(bad, plan=replace(one.plan, donor=replace(donor, truth=truth)))


def empty_hole(one: Drawn, by: Spoiler) -> Drawn:
    """Black, where something should have been put."""
    return filled(one, np.zeros_like(one.image))


def noise(one: Drawn, by: Spoiler) -> Drawn:
    """Noise there."""
    return filled(one, by.rng.integers(0, 256, one.image.shape, np.uint8))


def nothing_put(one: Drawn, by: Spoiler) -> Drawn:
    """The known object's own picture."""
    return replace(one, image=one.staged.base.copy())


def changed_object(one: Drawn, by: Spoiler) -> Drawn:
    """Pixels of the object that had to stay are others."""
    image = one.image.copy()
    rows, columns = np.nonzero(one.staged.keep >= 1)
    image[rows[::3], columns[::3]] ^= 64
    return replace(one, image=image)


def of_a_judge(one: Drawn, by: Spoiler) -> Drawn:
    """What hurt comes from a picture that judges."""
    return replace(one, plan=replace(one.plan, harm=replace(one.plan.harm, image=by.judge)))


def a_judging_picture(one: Drawn, by: Spoiler) -> Drawn:
    """The generator gives back a picture that judges."""
    image = by.pictures[int(by.rng.integers(len(by.pictures)))]
    staged = replace(one.staged, base=image, keep=np.zeros_like(one.staged.keep))
    return replace(one, image=image, staged=staged)


SPOILS: tuple[Spoil, ...] = (
    *(shifted, wrong_box, mislabelled_donor, empty_hole, noise),
    *(nothing_put, changed_object, of_a_judge, a_judging_picture),
)


def labelled(one: Drawn, boxes: FloatArray) -> Drawn:
    """The sample with other boxes [M, 4] for its labels."""
    truth = Truth(boxes, one.staged.truth.labels, one.staged.truth.ignore)
    return replace(one, staged=replace(one.staged, truth=truth))


def filled(one: Drawn, pixels: ImageArray) -> Drawn:
    """The sample with these pixels, of a whole picture, wherever it may change."""
    image = one.image.copy()
    free = one.staged.keep < 1
    image[free] = pixels[free]
    return replace(one, image=image)
