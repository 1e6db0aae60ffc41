"""Which XML files of a set are VOC annotations, of which pictures, and in which splits.

VOC itself has ``Annotations``, ``JPEGImages`` and ``ImageSets/Main``; Roboflow and labelImg put the
XML files beside the pictures. The name of an XML file is that of its picture; ``<filename>`` inside
it counts only where there is none, for it is not changed when files are renamed.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from curation.formats.names import name_key
from curation.formats.splits import TEST, TRAIN, TRAINVAL, VAL, rest_of, split_in, split_name
from curation.formats.text_files import decode, read_bytes
from curation.formats.tree import IMAGE_SUFFIXES, Ambiguous, Tree
from curation.kernel.errors import AnnotationsInvalid

ANNOTATIONS = "annotations"
IMAGE_FOLDERS = ("JPEGImages", "images", "img", "data", "")
_FOLDERS = (ANNOTATIONS, "jpegimages", "images")
"""What a name in a list may begin with."""
_ROOT = re.compile(rb"<annotation[\s>]")
_HEAD = 4096
"""Bytes in which the root of an annotation begins."""
_MAX_LIST_BYTES = 64 * 2**20


def xml_files(tree: Tree) -> tuple[list[Path], list[Path]]:
    """XML files that are VOC annotations, or should be by their folder; and the others."""
    found: list[Path] = []
    others: list[Path] = []
    for path in tree.with_suffix(".xml"):
        (found if _is_annotation(path, tree.root) else others).append(path)
    return found, others


def is_there(tree: Tree) -> bool:
    """Whether a folder holds VOC annotations."""
    return any(_is_annotation(path, tree.root) for path in tree.with_suffix(".xml"))


def _is_annotation(path: Path, root: Path) -> bool:
    if _in_annotations(path.relative_to(root)) is not None:
        return True
    try:
        with path.open("rb") as stream:
            return bool(_ROOT.search(stream.read(_HEAD)))
    except OSError:
        return False


def _in_annotations(path: Path) -> int | None:
    """Where in the folders of a path the last one called Annotations stands."""
    places = [at for at, part in enumerate(path.parts[:-1]) if part.casefold() == ANNOTATIONS]
    return places[-1] if places else None


@dataclass(slots=True)
class Pictures:
    """Finds the pictures of XML files.

    Attributes:
        xml_root: the folder that the XML files lie below.
        tree: of the pictures.
        disagree: XML files whose ``<filename>`` is that of another picture than their own name.
    """

    xml_root: Path
    tree: Tree
    disagree: list[tuple[Path, str]] = field(default_factory=list)
    _by_stem: dict[str, list[Path]] = field(default_factory=dict)

    def where(self, file: Path) -> str:
        """What to call an XML file in messages: its path, without the folder that all lie in."""
        path = file.relative_to(self.xml_root)
        return Path(*path.parts[1:] if _in_annotations(path) == 0 else path.parts).as_posix()

    def of(self, file: Path, filename: str) -> Path | None:
        """The picture of an XML file; None where there is none.

        Raises:
            Ambiguous: several may be meant.
        """
        named = self._called(file, filename)
        if named is None:
            return self.tree.find(filename, self._folders(file)) if filename.strip() else None
        if self._is_another(filename, named):
            self.disagree.append((file, filename))
        return named

    def _called(self, file: Path, filename: str) -> Path | None:
        """The picture of the XML's own name: beside it, where VOC has it, or anywhere."""
        found = self._stems().get(_stem_key(file.stem), [])
        near = [self._key(folder) for folder in (self._beside(file), *self._folders(file))]
        for folder in near:
            here = [path for path in found if self._key(self._place(path)) == folder]
            if here:
                return self._one(here, file, filename)
        return self._one(found, file, filename) if found else None

    def _one(self, found: list[Path], file: Path, filename: str) -> Path:
        """Of pictures that differ in their suffix, the one that ``<filename>`` has."""
        if len(found) == 1:
            return found[0]
        wanted = name_key(PurePosixPath(filename.replace("\\", "/")).name)
        exact = [path for path in found if name_key(path.name) == wanted]
        if len(exact) == 1:
            return exact[0]
        names = ", ".join(str(path.relative_to(self.tree.root)) for path in found[:3])
        raise Ambiguous(f"{file.name} may be of {names}: keep one of them")

    def _is_another(self, filename: str, picture: Path) -> bool:
        """Whether a name inside a file is that of another picture, be it there or not."""
        name = PurePosixPath(filename.strip().replace("\\", "/")).name
        stem = _stem_key(PurePosixPath(name).stem if _has_suffix(name) else name)
        return bool(name) and stem not in (_stem_key(picture.stem), _stem_key(picture.name))

    def _stems(self) -> dict[str, list[Path]]:
        if not self._by_stem:
            by_stem: dict[str, list[Path]] = defaultdict(list)
            for path in self.tree.images():
                by_stem[_stem_key(path.stem)].append(path)
                by_stem[_stem_key(path.name)].append(path)  # a.jpg.xml
            self._by_stem = dict(by_stem)
        return self._by_stem

    def _place(self, path: Path) -> str:
        place = path.parent.relative_to(self.tree.root).as_posix()
        return "" if place == "." else place

    def _beside(self, file: Path) -> str:
        place = file.parent.relative_to(self.xml_root).as_posix()
        return "" if place == "." else place

    def _folders(self, file: Path) -> list[str]:
        """Where VOC has the picture of a file: as deep below JPEGImages as it below Annotations."""
        path = file.relative_to(self.xml_root)
        at = _in_annotations(path)
        base = path.parts[:at] if at is not None else ()
        deep = path.parts[at + 1 : -1] if at is not None else path.parts[:-1]
        places = [
            "/".join((*base, *filter(None, (folder,)), *below))
            for below in dict.fromkeys((deep, ()))
            for folder in IMAGE_FOLDERS
        ]
        return list(dict.fromkeys(places))

    @staticmethod
    def _key(folder: str) -> str:
        return unicodedata.normalize("NFC", folder).casefold()

    def notes(self) -> list[str]:
        """A line about files that name another picture than their own."""
        if not self.disagree:
            return []
        shown = ", ".join(f"{file.name} has {name}" for file, name in self.disagree[:3])
        told = f"`<filename>` of {len(self.disagree)} XML files is of another picture ({shown})"
        return [f"{told}: the XML file's own name was taken"]


@dataclass(slots=True)
class ImageSets:
    """The splits that ``ImageSets/Main`` lists, or that folders tell.

    Attributes:
        root: the folder of the XML files.
        listed: by the folder of a set, the splits of each name in it.
        problems: lists that cannot be read.
    """

    root: Path
    listed: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, tree: Tree) -> ImageSets:
        """Read the lists of a tree; those of one class each are no splits."""
        sets = cls(tree.root)
        for path in tree.with_suffix(".txt"):
            folders = path.relative_to(tree.root).parts[:-1]
            lower = [part.casefold() for part in folders]
            if lower[-1:] not in (["main"], ["imagesets"]) or "imagesets" not in lower:
                continue
            base = "/".join(folders[: lower.index("imagesets")])
            split = split_name(path.stem)
            try:
                names = list(_entries(decode(read_bytes(path, _MAX_LIST_BYTES), path.name)))
            except AnnotationsInvalid as error:
                sets.problems.append(str(error))
                continue
            if split == "default":
                continue
            of_name = sets.listed.setdefault(base, {})
            for name in names:
                of_name.setdefault(name, set()).add(split)
        return sets

    def of_files(self, files: Iterable[Path]) -> dict[Path, set[str]]:
        """The splits of XML files; those that are in none may be the rest of the others."""
        found = {file: self.of_file(file) for file in files}
        rest = {rest_of({split for among in found.values() for split in among})} - {""}
        return {file: among or rest for file, among in found.items()}

    def of_file(self, file: Path) -> set[str]:
        """The splits of an XML file."""
        path = file.relative_to(self.root)
        at = _in_annotations(path)
        base = "/".join(path.parts[:at]) if at is not None else ""
        names = self.listed.get(base)
        if names is None:
            told = (split_in(part) for part in reversed(path.parts[:-1]))
            return {split for split in told if split in (TRAIN, VAL, TEST, TRAINVAL)}
        below = path.parts[(at + 1 if at is not None else 0) :]
        parts = (*below[:-1], path.stem)
        for first in range(len(parts)):  # the name with its folders counts before the name alone
            if found := names.get(_stem_key("/".join(parts[first:]))):
                return found
        return set()


def _entries(text: str) -> Iterator[str]:
    """Keys of the names that a list has; none where it tells of one class which images have it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    columns = [line.rsplit(None, 1) for line in lines]
    if lines and all(len(row) == 2 and row[1] in ("-1", "0", "1") for row in columns):
        return
    for line in lines:
        path = PurePosixPath(line.replace("\\", "/"))
        parts = [part for part in path.parts if part not in ("/", ".", "..")]
        if not parts:
            continue
        if _has_suffix(parts[-1]):
            parts[-1] = PurePosixPath(parts[-1]).stem
        places = [at for at, part in enumerate(parts[:-1]) if part.casefold() in _FOLDERS]
        yield _stem_key("/".join(parts[places[-1] + 1 if places else 0 :]))


def _has_suffix(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in (*IMAGE_SUFFIXES, ".xml", ".jfif", ".mpo")


def _stem_key(stem: str) -> str:
    return unicodedata.normalize("NFC", stem)
