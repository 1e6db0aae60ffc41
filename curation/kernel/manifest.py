"""The immutable dataset version: which images with which labels, named by its own hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curation.kernel.errors import ManifestMismatch
from curation.kernel.files import write_bytes
from curation.kernel.types import Box, Truth

FORMAT = 1


@dataclass(frozen=True, slots=True)
class ManifestItem:
    """One labelled image.

    Attributes:
        image: SHA-256 of its bytes.
        file: path relative to the image store.
        width_px: of the image.
        height_px: of the image.
        boxes_xyxy: px of the original image.
        labels: class name of each box.
        ignore: whether each box counts neither way.
        revision: of the annotation.
        group: images that must stay on one side of a split, such as one drive.
        origin: id of the failure that asked for the label; None for the seed set.
        generated: who drew it, name and version; "" for a real image.
    """

    image: str
    file: str
    width_px: int
    height_px: int
    boxes_xyxy: tuple[Box, ...]
    labels: tuple[str, ...]
    ignore: tuple[bool, ...]
    revision: int = 1
    group: str = ""
    origin: str | None = None
    generated: str = ""

    def __post_init__(self) -> None:
        if not len(self.boxes_xyxy) == len(self.labels) == len(self.ignore):
            raise ManifestMismatch(
                f"{self.image}: {len(self.boxes_xyxy)} boxes, {len(self.labels)} labels, "
                f"{len(self.ignore)} ignore flags"
            )

    def truth(self, class_names: Sequence[str]) -> Truth:
        """Boxes [M, 4] and labels [M] for a detector with these classes, background first.

        A box of a class that the detector lacks becomes an ignore region.
        """
        if not self.labels:
            return Truth.empty()
        index = {name: number for number, name in enumerate(class_names)}
        unknown = np.array([name not in index for name in self.labels], np.bool_)
        return Truth(
            np.array(self.boxes_xyxy, np.float32).reshape(-1, 4),
            np.array([index.get(name, 1) for name in self.labels], np.int64),
            np.array(self.ignore, np.bool_) | unknown,
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """A dataset version.

    Attributes:
        class_names: K names, background first.
        items: distinct images; their order does not matter.
        parent: version that this one grew out of.
    """

    class_names: tuple[str, ...]
    items: tuple[ManifestItem, ...]
    parent: str | None = None

    def __post_init__(self) -> None:
        images = [item.image for item in self.items]
        if len(set(images)) != len(images):
            raise ManifestMismatch("an image is in the manifest twice")

    @property
    def version(self) -> str:
        """SHA-256 of the canonical text, 64 hex digits; the order of the items is irrelevant."""
        return hashlib.sha256(self._text().encode()).hexdigest()

    def write(self, folder: Path) -> Path:
        """Write ``<version>.jsonl`` whole or not at all; its path."""
        data = self._text().encode()
        path = folder / f"{hashlib.sha256(data).hexdigest()}.jsonl"
        write_bytes(path, data)
        return path

    @staticmethod
    def read(path: Path) -> Manifest:
        """The manifest of a file, checked against its name.

        Raises:
            ManifestMismatch: it is damaged, or is not what its name says.
        """
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != path.stem:
            raise ManifestMismatch(f"{path.name}: the content does not have this hash")
        try:
            return Manifest._of_text(data.decode("utf-8"), path.name)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ManifestMismatch(f"{path.name}: not a manifest ({error!r})") from error

    @staticmethod
    def _of_text(text: str, where: str) -> Manifest:
        head, *lines = text.removesuffix("\n").split("\n")  # a label may hold a line separator
        header = json.loads(head)
        if header["format"] != FORMAT:
            raise ManifestMismatch(f"{where}: format {header['format']}, expected {FORMAT}")
        items = tuple(_item(json.loads(line)) for line in lines)
        return Manifest(tuple(header["class_names"]), items, header["parent"])

    def _text(self) -> str:
        header = {"class_names": self.class_names, "format": FORMAT, "parent": self.parent}
        ordered = sorted(self.items, key=lambda item: item.image)
        lines = [_json(header), *(_json(_entry(item)) for item in ordered)]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class ManifestDiff:
    """What changed between two versions, as sorted image ids."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    relabelled: tuple[str, ...]


def diff(old: Manifest, new: Manifest) -> ManifestDiff:
    """Which images came, went, or have other labels."""
    before = {item.image: item for item in old.items}
    after = {item.image: item for item in new.items}
    both = before.keys() & after.keys()
    return ManifestDiff(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        relabelled=tuple(sorted(i for i in both if _labels(before[i]) != _labels(after[i]))),
    )


def leaks(manifest: Manifest, holdout: Manifest) -> set[str]:
    """Images that are in both, which an evaluation would then be wrong about."""
    return {item.image for item in manifest.items} & {item.image for item in holdout.items}


def _labels(item: ManifestItem) -> tuple[Any, ...]:
    return (item.boxes_xyxy, item.labels, item.ignore)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _entry(item: ManifestItem) -> dict[str, Any]:
    """As it is written; 1 and 1.0 are the same box and must not give two versions.

    Who drew it only where somebody did: versions of before keep their names.
    """
    boxes = [[float(value) + 0.0 for value in box] for box in item.boxes_xyxy]  # no -0.0
    entry = {**asdict(item), "boxes_xyxy": boxes}
    if not item.generated:
        del entry["generated"]
    return entry


def _item(entry: dict[str, Any]) -> ManifestItem:
    boxes: tuple[Box, ...] = tuple(
        (float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in entry["boxes_xyxy"]
    )
    return ManifestItem(
        **{
            **entry,
            "boxes_xyxy": boxes,
            "labels": tuple(entry["labels"]),
            "ignore": tuple(entry["ignore"]),
        }
    )
