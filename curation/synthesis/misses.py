"""What the champion got wrong in a frame that may teach."""

from __future__ import annotations

from dataclasses import dataclass

from curation.kernel.types import Box, ImageArray, Truth
from curation.superpixels import SegmentArray
from curation.synthesis.base import Role, Staging


@dataclass(frozen=True, slots=True, eq=False)
class Missed:
    """An object that the champion missed in a frame that may teach, or saw where none was.

    Attributes:
        mode: failure mode that it belongs to.
        failure: its id.
        image: id of the frame.
        role: where the frame is from.
        pixels: [H, W, 3] uint8.
        segments: [h, w] int32, superpixels of the frame on the network's grid.
        box_xyxy: of what was missed, or of the false detection, px.
        label: its class, in 1..K-1.
        truth: what else is known to stand there; None where nobody labelled it.
        alike: whether it is a false detection.
    """

    mode: str
    failure: str
    image: str
    role: Role
    pixels: ImageArray
    segments: SegmentArray
    box_xyxy: Box
    label: int
    truth: Truth | None
    alike: bool = False

    @property
    def staging(self) -> Staging:
        """How its samples are put together."""
        return Staging.LOOKALIKE if self.alike else Staging.SURROUND
