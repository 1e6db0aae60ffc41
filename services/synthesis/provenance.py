"""What a drawn picture says of itself, and whether it is true."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from curation.kernel.images import encode_png, png_texts
from curation.kernel.types import ImageArray

CHUNK, RECORD = "e2x-generated", "e2x-record"
"""Keywords of the text chunks of a drawn picture's PNG file: provenance, and its hash."""
LIBRARIES = ("numpy", "opencv-python-headless", "pillow", "torch", "diffusers")


def libraries() -> dict[str, str]:
    """Versions of what pixels follow from, of those that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an option
            continue
    return found


def record_of(told: Mapping[str, Any]) -> str:
    """Hash of a provenance, 64 hex digits."""
    return hashlib.sha256(_canonical(told).encode()).hexdigest()


def signed_png(pixels: ImageArray, told: Mapping[str, Any]) -> bytes:
    """A picture [H, W, 3] uint8 as a PNG file that carries its provenance."""
    return encode_png(pixels, {CHUNK: _canonical(told), RECORD: record_of(told)})


def read_png(data: bytes) -> tuple[dict[str, Any], bool] | None:
    """The provenance of a picture file, and whether its hash fits; None where it has none.

    Raises:
        ImageUnreadable: it is no picture.
    """
    texts = png_texts(data)
    if CHUNK not in texts:
        return None
    told: dict[str, Any] = json.loads(texts[CHUNK])
    return told, record_of(told) == texts.get(RECORD)


def _canonical(told: Mapping[str, Any]) -> str:
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
