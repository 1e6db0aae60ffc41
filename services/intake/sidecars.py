"""What is known about a field frame, in a JSON file beside it.

``drive7.jpg`` has its words in ``drive7.jpg.json`` or ``drive7.json``::

    {"objects": [{"box": [x1, y1, x2, y2], "label": "car"}]}                    its truth
    {"reports": [{"kind": "missed", "box": [x1, y1, x2, y2], "label": "car"}]}  an operator's words

``reporter`` and ``group`` may stand beside them, and ``width_px`` and ``height_px`` of the picture
that the boxes were drawn in.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.errors import InvalidRequest
from services.intake import strict_json

MAX_BYTES = 4 * 2**20

Box = Annotated[list[float], Field(min_length=4, max_length=4)]


class _Strict(BaseModel):
    """Nothing unknown, and no text where a number or a flag is meant."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _Object(_Strict):
    box: Box
    label: str
    ignore: bool = False


class _Report(_Strict):
    kind: Literal["missed", "false"]
    box: Box
    label: str


class _SidecarFile(_Strict):
    objects: list[_Object] | None = None
    reports: list[_Report] | None = None
    reporter: str = Field(default="", max_length=120)
    group: str = Field(default="", max_length=120)
    width_px: int | None = Field(default=None, ge=1)
    height_px: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _refuse_half_a_size(self) -> Self:
        if (self.width_px is None) != (self.height_px is None):
            raise ValueError("give both width_px and height_px, or neither")
        return self


class Sidecar(BaseModel):
    """What was said about a frame, as :func:`services.intake.frames.ingest_frame` takes it."""

    objects: list[dict[str, Any]] | None = None
    reports: list[dict[str, Any]] | None = None
    reporter: str = ""
    group: str = ""
    width_px: int | None = None
    height_px: int | None = None

    @property
    def size_wh(self) -> tuple[int, int] | None:
        """Of the picture that is spoken of; None where that is not said."""
        if self.width_px is None or self.height_px is None:
            return None
        return self.width_px, self.height_px


def sidecar_of(image: Path) -> Path | None:
    """The file with the words about an image; None where there is none."""
    for file in (image.with_name(f"{image.name}.json"), image.with_suffix(".json")):
        try:
            if file.is_file():
                return file
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # there cannot be such a file
                raise
    return None


def read_words(image: Path) -> Sidecar:
    """What the file beside an image says.

    Raises:
        InvalidRequest: there is none, or it cannot be understood.
    """
    file = sidecar_of(image)
    if file is None:
        raise InvalidRequest(
            f"{image.name}: nothing is said about it; put `objects` or `reports` into "
            f"{image.stem}.json beside it"
        )
    if file.stat().st_size > MAX_BYTES:
        raise InvalidRequest(f"{file.name}: over {MAX_BYTES} bytes")
    try:
        words = _SidecarFile.model_validate(strict_json.loads(file.read_bytes(), file.name))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InvalidRequest(f"{file.name}: {place}: {first['msg']}") from error
    return Sidecar(**words.model_dump())
