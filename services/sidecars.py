"""What is known about a field frame, in a JSON file beside it.

``drive7.jpg`` has its words in ``drive7.jpg.json`` or ``drive7.json``::

    {"objects": [{"box": [x1, y1, x2, y2], "label": "car"}]}                    its truth
    {"reports": [{"kind": "missed", "box": [x1, y1, x2, y2], "label": "car"}]}  an operator's words

``reporter`` and ``group`` may stand beside them.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.errors import InvalidRequest

MAX_BYTES = 4 * 2**20

Box = Annotated[list[float], Field(min_length=4, max_length=4)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Object(_Strict):
    box: Box
    label: str
    ignore: bool = False


class _Report(_Strict):
    kind: Literal["missed", "false"]
    box: Box
    label: str


class _Sidecar(_Strict):
    objects: list[_Object] | None = None
    reports: list[_Report] | None = None
    reporter: str = Field(default="", max_length=120)
    group: str = Field(default="", max_length=120)


class Words(BaseModel):
    """What was said about a frame, as :func:`services.ingest.ingest_frame` takes it."""

    objects: list[dict[str, Any]] | None = None
    reports: list[dict[str, Any]] | None = None
    reporter: str = ""
    group: str = ""


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


def read_words(image: Path) -> Words:
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
        words = _Sidecar.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InvalidRequest(f"{file.name}: {place}: {first['msg']}") from error
    return Words(**words.model_dump())
