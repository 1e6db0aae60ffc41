"""Which JSON files of a set are COCO files of detection, and where their pictures lie.

One file may be the whole set (``annotations.json``, Roboflow, FiftyOne, Label Studio), one split
(``annotations/instances_val2017.json``, ``val.json``, ``valid/_annotations.coco.json``), one subset
of a task (CVAT's ``annotations/instances_default.json``) or one class (``cars.json``).
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curation.formats.splits import SAME, split_in, split_name
from curation.formats.text_files import encoding_of_json
from curation.formats.tree import IMAGE_SUFFIXES, Tree
from curation.kernel.errors import AnnotationsInvalid

ANNOTATIONS = "annotations"
"""The folder of annotation files beside those of pictures, as COCO itself and CVAT have it."""
IMAGE_FOLDERS = ("images", "data", "img", "imgs", "JPEGImages", "")
LISTS = ("images", "categories", "annotations")
_PREFIX = re.compile(
    r"^(_?annotations|instances|person_keypoints|captions|panoptic|stuff|image_info|coco)"
    r"(\.coco)?([-_.]|$)",
    re.I,
)
_INSTANCES = re.compile(r"^instances([-_.]|$)", re.I)
_SETS = ("annotations", "_annotations.coco", "instances", "labels", "result", "coco")
"""Stems of files that say nothing but what they are."""
_NAMES = ("annotations", "_annotations.coco", "instances")
"""Those of them that only COCO files have."""
_TASKS = re.compile(r"^(person_keypoints|captions|panoptic|stuff|image_info)([-_.]|$)", re.I)
"""Files of COCO's other tasks, over the same images."""
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz")
_VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts")


@dataclass(frozen=True, slots=True)
class CocoFile:
    """An annotation file and what its place says.

    Attributes:
        path: where it lies.
        base: the folder of its set, below the root of the tree; "" for the root.
        subset: such as ``val2017`` or ``default``; "" where its name has none.
        split: such as ``val``, from its name or its folders; "" where they have none.
    """

    path: Path
    base: str
    subset: str
    split: str

    @classmethod
    def at(cls, path: Path, root: Path) -> CocoFile:
        """What the place of a file below a root says."""
        parts = list(path.relative_to(root).parts[:-1])
        if parts and parts[-1].casefold() == ANNOTATIONS:
            parts.pop()
        subset = _PREFIX.sub("", path.stem)
        told = [split_in(path.stem), *(split_in(part) for part in reversed(parts))]
        return cls(path, "/".join(parts), subset, next(filter(None, told), ""))

    @property
    def own_folders(self) -> list[str]:
        """Folders that only hold pictures of this file, below the root, the likeliest first."""
        same = (name for name, split in SAME.items() if split == self.split)
        names = dict.fromkeys(filter(None, (self.subset, self.split, *same)))
        return [self._below(place) for name in names for place in (f"images/{name}", name)]

    @property
    def folders(self) -> list[str]:
        """Folders that hold pictures of all files of the set, below the root."""
        return [self._below(folder) for folder in IMAGE_FOLDERS]

    def _below(self, folder: str) -> str:
        return "/".join(filter(None, (self.base, folder)))

    @property
    def is_set(self) -> bool:
        """Whether its name says no more than what it is: it names no drive and no town."""
        stem = self.path.stem.lower()
        known = stem in _SETS or bool(_INSTANCES.match(stem))
        return known or bool(split_in(stem)) or split_name(stem) == "default"


def root_of(source: Path) -> Path:
    """The folder that pictures are looked for in: what was named, or where the named file lies."""
    if source.is_dir():
        return source
    folder = source.absolute().parent
    return folder.parent if folder.name.casefold() == ANNOTATIONS else folder


def candidates(tree: Tree) -> tuple[list[CocoFile], list[Path]]:
    """The files of a folder that are COCO files of detection, and its other JSON files.

    Where a set has files of COCO's several tasks, ``instances`` are those of detection.
    """
    found: list[Path] = []
    others: list[Path] = []
    for path in tree.with_suffix(".json"):
        (found if claims_to_be_coco(path) else others).append(path)
    files = [CocoFile.at(path, tree.root) for path in found]
    of_detection = {file.path.parent for file in files if _INSTANCES.match(file.path.name)}
    good = [
        file
        for file in files
        if file.path.parent not in of_detection or not _TASKS.match(file.path.name)
    ]
    kept = {file.path for file in good}
    return good, sorted({*others, *(path for path in found if path not in kept)})


def claims_to_be_coco(path: Path) -> bool:
    """Whether a file is called or looks like a COCO file; a damaged one must be told."""
    stem = path.stem.lower()
    return stem in _NAMES or bool(_INSTANCES.match(stem)) or looks_like_coco(path)


def looks_like_coco(path: Path) -> bool:
    """Whether a file has the three lists of a COCO file, by their names alone.

    A whole set of COCO's takes seconds to parse, and folders may hold a JSON file an image.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(1) == b"":
                return False
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                encoding = encoding_of_json(data[:4])
                there = [data.find(f'"{name}"'.encode(encoding)) >= 0 for name in LISTS]
    except (OSError, ValueError):
        return False
    return all(there)


def require_json(file: Path) -> None:
    """Refuse a file that cannot be a COCO file by what it is.

    Raises:
        AnnotationsInvalid: such as a picture or an archive; the message says what to name instead.
    """
    suffix = file.suffix.lower()
    with file.open("rb") as stream:
        head = stream.read(16)
    if head.startswith((b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!")) or suffix in _ARCHIVES:
        why = "an archive: unpack it and name the folder"
    elif suffix in IMAGE_SUFFIXES or head.startswith((b"\xff\xd8\xff", b"\x89PNG")):
        why = "a picture: name the folder that it lies in"
    elif suffix in _VIDEOS or head[4:8] == b"ftyp":
        why = "a video: save pictures of it (`ffmpeg -i FILE frame_%06d.png`), name their folder"
    elif suffix == ".xml":
        why = "one annotation of Pascal VOC: name the folder that all of them lie in"
    elif suffix in (".txt", ".csv"):
        why = "a text file: name the folder of the set, or its data.yaml or COCO file"
    else:
        return
    raise AnnotationsInvalid(f"{file.name}: this is {why}")


def listed(paths: Sequence[Path], root: Path) -> str:
    """The first few of several files, for a message."""
    names = [path.relative_to(root).as_posix() for path in paths[:3]]
    return ", ".join(names) + (", …" if len(paths) > len(names) else "")
