"""The nouns of synthesis: what hurt, a known object, one sample to draw, and who draws it.

What a plan is made of is small: pictures are shared by all plans that use them, and the finished
picture is made by :func:`curation.synthesis.staging.stage` where it is drawn, so that thousands
of plans cost no memory. Every generator starts from the same staged picture.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from curation.kernel.types import BoolArray, Box, FloatArray, ImageArray, Truth

Role: TypeAlias = Literal["field", "pool", "train"]
"""Where a picture comes from. Pictures that judge (holdout, siblings) have no name here."""


class Staging(StrEnum):
    """What is put where."""

    SURROUND = "surround"
    """A known object stays, its surroundings become what hurt."""
    INSERT = "insert"
    """A scene stays in which no object stands at a place that resembles what hurt; a known object
    is put there."""
    LOOKALIKE = "lookalike"
    """What was taken for an object is put where nothing is; it gets no box."""
    CONTROL = "control"
    """As ``SURROUND``, with surroundings in which an object of the class is found."""
    CONTROL_INSERT = "control_insert"
    """As ``INSERT``, into a scene in which an object of the class is found at the same place."""
    CONTROL_ALIKE = "control_alike"
    """As ``LOOKALIKE``, with a place at which nothing stands and nothing is seen."""

    @property
    def is_control(self) -> bool:
        """Whether it shows the operation and no harm."""
        return self in _CONTROL_OF.values()

    @property
    def control(self) -> Staging:
        """What it is held against; of a control itself."""
        return _CONTROL_OF.get(self, self)

    @property
    def is_alike(self) -> bool:
        """Whether it shows nothing that is labelled."""
        return self in (Staging.LOOKALIKE, Staging.CONTROL_ALIKE)

    @property
    def is_insert(self) -> bool:
        """Whether the picture is the scene's, and not the known object's."""
        return self in (Staging.INSERT, Staging.CONTROL_INSERT)


_CONTROL_OF = {
    Staging.SURROUND: Staging.CONTROL,
    Staging.INSERT: Staging.CONTROL_INSERT,
    Staging.LOOKALIKE: Staging.CONTROL_ALIKE,
}


@dataclass(frozen=True, slots=True, eq=False)
class Harm:
    """What hurt: pixels of a frame around an object that was missed, or a false detection.

    Attributes:
        image: id of the frame.
        role: where it is from.
        pixels: [H, W, 3] uint8.
        mask: [H, W] bool, which of them hurt.
        box_xyxy: of what was missed, or of the false detection, px.
        label: its class, in 1..K-1.
        truth: what else is known to stand in the frame, without the object of the box; None
            where nobody labelled it: then what is put around an object is ignored in training.
        light: whether the colours of the object are part of what hurt.
        vector: [V] float32, the region vector as the index has it; None without one.
        weight: of this harm within its mode, in (0, 1].
        vacant: whether nothing stands in the box: a place that only resembles the surroundings of
            what was missed, or a false detection. Else what stands there is painted over before
            its surroundings are moved.
        colours: mean [3] and deviation [3] of the Lab colours that an object takes on with the
            light, where they are not those of what stands in the box; see ``blend.colours``.
    """

    image: str
    role: Role
    pixels: ImageArray
    mask: BoolArray
    box_xyxy: Box
    label: int
    truth: Truth | None
    light: bool = False
    vector: FloatArray | None = None
    weight: float = 1.0
    vacant: bool = False
    colours: tuple[FloatArray, FloatArray] | None = None

    def __post_init__(self) -> None:
        require_picture(self.pixels, f"harm of {self.image}")
        if self.mask.shape != self.pixels.shape[:2]:
            raise ValueError(
                f"harm of {self.image}: mask {self.mask.shape}, picture {self.pixels.shape}"
            )
        if not 0 < self.weight <= 1:
            raise ValueError(f"harm of {self.image}: weight {self.weight} must lie in (0, 1]")


@dataclass(frozen=True, slots=True, eq=False)
class Donor:
    """A labelled object that the champion finds.

    Attributes:
        image: id of its picture.
        role: where it is from.
        pixels: [H, W, 3] uint8.
        truth: of the picture.
        row: of the object in the truth.
        score: with which the champion finds it, in 0..1.
    """

    image: str
    role: Role
    pixels: ImageArray
    truth: Truth
    row: int
    score: float

    def __post_init__(self) -> None:
        require_picture(self.pixels, f"donor {self.image}")
        if not 0 <= self.row < len(self.truth):
            raise ValueError(
                f"donor {self.image}: row {self.row} of {len(self.truth)} labelled objects"
            )

    @property
    def box_xyxy(self) -> Box:
        """Of the object, px."""
        x1, y1, x2, y2 = (float(side) for side in self.truth.boxes_xyxy[self.row])
        return x1, y1, x2, y2

    @property
    def label(self) -> int:
        """Its class, in 1..K-1."""
        return int(self.truth.labels[self.row])


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A place in a labelled picture at which nothing stands and the champion sees nothing.

    Attributes:
        image: id of its picture.
        role: where it is from.
        pixels: [H, W, 3] uint8.
        truth: of the picture.
        box_xyxy: the place, px.
        label: class that is not there, in 1..K-1.
    """

    image: str
    role: Role
    pixels: ImageArray
    truth: Truth
    box_xyxy: Box
    label: int

    def __post_init__(self) -> None:
        require_picture(self.pixels, f"scene {self.image}")

    @property
    def row(self) -> str:
        """Which place of the picture, as plans are told apart."""
        return ",".join(f"{side:g}" for side in self.box_xyxy)


@dataclass(frozen=True, slots=True)
class Parent:
    """A picture that gave pixels.

    Attributes:
        image: its id.
        role: where it is from.
        part: what it gave.
    """

    image: str
    role: Role
    part: Literal["donor", "harm", "scene"]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """One sample to draw.

    Attributes:
        mode: failure mode that it is drawn for.
        failure: of the mode, whose frame it takes; "" for a control.
        staging: what is put where.
        seed: of everything random in drawing.
        harm: what is put there; of a control, harmless surroundings.
        donor: the known object; of a look-alike, the place that it is put at.
    """

    mode: str
    failure: str
    staging: Staging
    seed: int
    harm: Harm
    donor: Donor | Scene

    def __post_init__(self) -> None:
        if isinstance(self.donor, Scene) != self.staging.is_alike:
            raise ValueError(f"{self.staging}: look-alikes, and they only, are put into scenes")

    @property
    def key(self) -> str:
        """Hash of all that decides the sample but the generator: equal keys, equal samples."""
        told = [
            *(self.mode, self.failure, str(self.staging), self.seed),
            *(self.harm.image, list(self.harm.box_xyxy), self.harm.label, self.harm.light),
            *(self.donor.image, self.donor.row),
        ]
        digest = hashlib.sha256(json.dumps(told).encode())
        for array in (self.harm.pixels, self.harm.mask, self.donor.pixels, *self._colours):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:32]

    @property
    def _colours(self) -> tuple[FloatArray, ...]:
        return self.harm.colours or ()

    @property
    def parents(self) -> tuple[Parent, ...]:
        """Whose pixels it shows."""
        donor: Literal["scene", "donor"] = "scene" if self.staging.is_alike else "donor"
        harm: Literal["scene", "harm"] = "scene" if self.staging.is_insert else "harm"
        return (
            Parent(self.donor.image, self.donor.role, donor),
            Parent(self.harm.image, self.harm.role, harm),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Staged:
    """A plan put together: what every generator starts from, and what must come out of it.

    Attributes:
        base: [H, W, 3] uint8, the picture before anything was put into it; its object has the
            colours of what was missed, where the light is part of what hurt.
        composite: [H, W, 3] uint8, with everything put into it.
        keep: [H, W] float32 in 0..1; where it is 1 a finished picture is the base, byte for byte.
        hole: [H, W] bool, where what hurt is to be seen.
        truth: of the finished picture.
        row: of the donor in that truth; None for a look-alike.
    """

    base: ImageArray
    composite: ImageArray
    keep: FloatArray
    hole: BoolArray
    truth: Truth
    row: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A finished sample.

    Attributes:
        plan: see there.
        staged: what it was drawn from.
        image: [H, W, 3] uint8.
        generator: name of who drew it.
        version: of the generator.
        parameters: JSON-serialisable, all that decided it beside plan and version.
        seconds: of processor time that drawing took.
    """

    plan: Plan
    staged: Staged
    image: ImageArray
    generator: str
    version: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Undrawn:
    """A plan that could not be drawn, and why; its neighbours are drawn all the same."""

    plan: Plan
    reason: str


class Generator(Protocol):
    """Who draws."""

    @property
    def name(self) -> str:
        """In the registry."""
        ...

    @property
    def version(self) -> str:
        """Hash of weights, class, library versions and parameters: part of the provenance."""
        ...

    @property
    def invents(self) -> bool:
        """Whether objects that nobody labelled may appear in the hole: it is then ignored."""
        ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON-serialisable, all that a sample depends on beside its plan and the weights."""
        ...

    def require_ready(self) -> None:
        """Whether it can draw here; cheap, nothing is loaded.

        Raises:
            GeneratorUnusable: weights or packages are missing; the message says what to do.
        """
        ...

    def draw(self, plans: Sequence[Plan]) -> Iterator[Drawn | Undrawn]:
        """One answer for each plan, in the order of the plans; equal plans, equal bytes.

        Raises:
            GeneratorUnusable: it cannot draw at all.
        """
        ...


def require_picture(pixels: ImageArray, what: str) -> None:
    """Refuse what is no picture.

    Raises:
        ValueError: not [H, W, 3] uint8, or empty.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(f"{what}: expected [H, W, 3] uint8, got {pixels.shape} {pixels.dtype}")
