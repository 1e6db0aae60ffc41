"""What a person says of an import beside its sources and their role."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curation import formats
from curation.formats.splits import Purpose
from services.db.tables import Role
from services.intake.parts import Part


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a person said of an import beside its sources and their role.

    Attributes:
        fmt: ``coco``, ``voc``, ``yolo`` or ``images``; None: found out.
        group: of all images, instead of what the format says.
        min_side_px: boxes with a shorter side become ignore regions; None: the setting.
        part: only these blocks of consecutive frames; None: all.
        images: the folder in which the pictures of an annotation file lie, where it is not its
            own.
        splits: names of the splits to take; empty: those that the role may have.
        class_names: of files that only have numbers; see :class:`curation.formats.ReadOptions`.
        enclose_rotated: whether rotated rectangles become the upright boxes around them.
        clip: whether boxes that leave their picture are cut at its border.
        replace_corrections: whether labels take the place of what a person has corrected, too.
        keep_elsewhere: whether pictures of a bucket stay there and are referred to.
    """

    fmt: str | None = None
    group: str | None = None
    min_side_px: float | None = None
    part: Part | None = None
    images: Path | None = None
    splits: tuple[str, ...] = ()
    class_names: tuple[str | None, ...] | None = None
    enclose_rotated: bool = False
    clip: bool = False
    replace_corrections: bool = False
    keep_elsewhere: bool = False

    def reading(self, role: Role) -> formats.ReadOptions:
        """What a reader has to know of it."""
        return formats.ReadOptions(
            images=self.images,
            splits=formats.SplitChoice(self.splits, PURPOSES[role]),
            class_names=self.class_names,
            enclose_rotated=self.enclose_rotated,
            clip=self.clip,
        )


PURPOSES: dict[Role, Purpose] = {
    Role.SEED: "train",
    Role.POOL: "everything",
    Role.FIELD: "ask",
    Role.HOLDOUT: "evaluate",
    Role.SIBLINGS: "ask",
}
"""What becomes of the splits of a set where nobody names one: what is held out there is never
trained on here, and where either would be a guess, a person is asked."""
