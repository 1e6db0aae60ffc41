"""The files of a data set: all below what a person named, and nothing beside it.

Links are followed wherever they lead: whoever put one there named its target. A name that an
annotation file gives never leads out. Hidden folders and what programs leave behind (thumbnails,
bins, AppleDouble files) are no part of a set.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from curation.formats.names import is_elsewhere, name_key, natural_key, readings
from curation.formats.splits import split_in
from curation.kernel.errors import AnnotationsInvalid

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
_TEXTS = (".txt", ".json", ".xml", ".yaml", ".yml", ".csv", ".md", ".names", ".data", ".npz")
"""Suffixes of files that are never pictures: they are not opened to look."""
_UNFINISHED = (".part", ".crdownload", ".download", ".tmp", ".temp", ".partial")
_SIGNATURES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"MM\0*",
)
_LEFTOVERS = frozenset(
    (
        *("@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information"),
        *("__macosx", "lost+found", "thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"),
    )
)
"""Names, in lower case, of what operating systems and storage boxes leave in folders."""
_HEAD = 16
"""Bytes that tell a format."""


class Ambiguous(AnnotationsInvalid):
    """A name may mean several pictures."""


@dataclass(slots=True)
class Tree:
    """All files below a folder, in the order in which people count.

    Attributes:
        root: the folder.
        files: paths that begin with ``root``; of a folder that links reach twice, one way.
        unreadable: folders that could not be listed, and links that lead nowhere.
    """

    root: Path
    files: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)
    _images: list[Path] | None = None
    _by_name: dict[str, list[Path]] = field(default_factory=dict)
    _by_ending: dict[str, dict[str, list[Path]]] = field(default_factory=dict)

    @classmethod
    def below(cls, root: Path) -> Tree:
        """Look at every folder below ``root``, whatever it is called itself."""
        tree = cls(root)
        tree._walk()
        tree.files.sort(key=lambda path: natural_key(path.relative_to(root)))
        return tree

    def _walk(self) -> None:
        seen: set[tuple[int, int]] = set()
        waiting: list[Path] = [self.root]
        links: list[Path] = []
        while waiting or links:
            # Links last: a folder that also lies here keeps its own place, and a ring ends.
            folder = waiting.pop() if waiting else links.pop(0)
            try:
                state = folder.stat()
                if (state.st_dev, state.st_ino) in seen:
                    continue
                seen.add((state.st_dev, state.st_ino))
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError:
                self.unreadable.append(folder)
                continue
            for entry in entries:
                if is_left_behind(entry.name):
                    continue
                path = folder / entry.name
                try:
                    if entry.is_dir():
                        (links if entry.is_symlink() else waiting).append(path)
                    elif entry.is_file():
                        self.files.append(path)
                    else:
                        self.unreadable.append(path)
                except OSError:
                    self.unreadable.append(path)

    def images(self) -> list[Path]:
        """The pictures: by suffix, and those without a usual one by how they begin."""
        if self._images is None:
            self._images = [path for path in self.files if is_image(path)]
        return self._images

    def with_suffix(self, *suffixes: str, below: str = "") -> list[Path]:
        """Files with one of these suffixes, in whatever case.

        Args:
            suffixes: in lower case.
            below: only those in this folder of the root, in whatever case; "": all.
        """
        return [
            path
            for path in self.files
            if path.suffix.lower() in suffixes and (not below or self._is_below(path, below))
        ]

    def _is_below(self, path: Path, folder: str) -> bool:
        parts = path.relative_to(self.root).parts
        return len(parts) > 1 and parts[0].casefold() == folder.casefold()

    def folder(self, name: str) -> Path | None:
        """The folder of this name, in whatever case, directly below the root."""
        if (self.root / name).is_dir():
            return self.root / name
        try:
            entries = sorted(os.scandir(self.root), key=lambda entry: entry.name)
        except OSError:
            return None
        for entry in entries:
            if entry.name.casefold() == name.casefold() and entry.is_dir():
                return Path(self.root / entry.name)
        return None

    def find(self, name: str, folders: Sequence[str] = ("",)) -> Path | None:
        """The picture that an annotation file means by a name; None where there is none.

        First as the name stands below each of the folders; then wherever it lies, if only one
        picture below the root ends like it. Case counts except in the suffix.

        Args:
            name: a path, an address, or what a label tool made of it.
            folders: where to look first, below the root and as one writes them: ``images/val``.

        Raises:
            Ambiguous: several pictures may be meant.
        """
        for reading in readings(name):
            places = [PurePosixPath(folder) / reading for folder in folders]
            here = [path for place in places for path in self._at(place)]
            if here:
                return _one(here, name, self.root)
        for reading in readings(name):
            if found := self._anywhere(reading, is_elsewhere(name)):
                return _one(found, name, self.root)
        return None

    def stands(self, name: str, folder: str) -> Path | None:
        """The picture whose name stands so below one folder of the root; None where none does.

        Raises:
            Ambiguous: several differ in nothing but the case of their suffix.
        """
        for reading in readings(name):
            if here := self._at(PurePosixPath(folder) / reading):
                return _one(here, name, self.root)
        return None

    def _at(self, place: PurePosixPath) -> list[Path]:
        wanted = _key(place)
        ending = self._endings(place.name).get(wanted, [])
        found = [path for path in ending if self._key_of(path) == wanted]
        exact = [path for path in found if path.relative_to(self.root).as_posix() == str(place)]
        return exact or found

    def _anywhere(self, reading: PurePosixPath, elsewhere: bool) -> list[Path]:
        """Pictures whose paths end like the name, as far as any does.

        Of a name that was written for another computer the folders may be dropped; of one that
        was not, only where no folder says that it is another split.
        """
        endings = self._endings(reading.name)
        parts = reading.parts
        for first in range(len(parts)):
            if found := endings.get(_key(PurePosixPath(*parts[first:])), []):
                dropped = {split_in(part) for part in parts[:first]} - {""}
                return [
                    path
                    for path in found
                    if elsewhere
                    or not dropped
                    or not dropped.isdisjoint(self.splits_of(path) or dropped)
                ]
        return []

    def splits_of(self, path: Path) -> set[str]:
        """The splits that the folders of a picture tell."""
        return {split_in(part) for part in path.relative_to(self.root).parts[:-1]} - {""}

    def _endings(self, name: str) -> dict[str, list[Path]]:
        """Pictures of this file name by every ending of their paths, made when it is asked for.

        A set may call each of its pictures ``image.png``, in folders of their own: to compare a
        name with all of them, for all of them, would take the square of their number.
        """
        if not self._by_name:
            by_name: dict[str, list[Path]] = defaultdict(list)
            for path in self.images():
                by_name[name_key(path.name)].append(path)
            self._by_name = dict(by_name)
        key = name_key(name)
        if key not in self._by_ending:
            endings: dict[str, list[Path]] = defaultdict(list)
            for path in self._by_name.get(key, []):
                parts = self._key_of(path).split("/")
                for first in range(len(parts)):
                    endings["/".join(parts[first:])].append(path)
            self._by_ending[key] = dict(endings)
        return self._by_ending[key]

    def _key_of(self, path: Path) -> str:
        return _key(PurePosixPath(path.relative_to(self.root).as_posix()))

    def unlooked(self, used: Iterable[Path] = ()) -> tuple[str, ...]:
        """A line about the files that nobody looked at, if there are.

        Args:
            used: files that belong to the set although they are no pictures.
        """
        known = set(used) | set(self.images())
        others = Counter(
            path.suffix.lower() or "without a suffix"
            for path in self.files
            if path not in known and path.suffix.lower() not in _TEXTS
        )
        told = []
        if others:
            listed = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(8))
            told.append(
                f"files that are not read were passed over: {listed}; make pictures JPEG or PNG"
            )
        if self.unreadable:
            names = ", ".join(path.name for path in self.unreadable[:3])
            told.append(
                f"{len(self.unreadable)} folders or links could not be read: {names}; "
                "mend them and import again"
            )
        return tuple(told)


def is_left_behind(name: str) -> bool:
    """Whether a file or folder is hidden, or one that programs leave in folders of pictures."""
    return name.startswith(".") or name.lower() in _LEFTOVERS or name.endswith("~")


def is_image(path: Path) -> bool:
    """Whether a file is a picture of a format that is read.

    A usual suffix is believed (what is not a picture is told when it is read); of another one, or
    none, the first bytes decide, for cameras and browsers write ``.jfif``, ``.mpo`` or nothing.
    """
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return True
    if suffix in _TEXTS or suffix in _UNFINISHED:
        return False
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError:
        return False
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def image_files(folder: Path) -> list[Path]:
    """All pictures below a folder, in the order in which people count."""
    return Tree.below(folder).images()


def _key(path: PurePosixPath) -> str:
    return "/".join(name_key(part) for part in path.parts)


def _one(found: Sequence[Path], name: str, root: Path) -> Path:
    """The only one of several paths, where they are one file or one content."""
    first, *others = dict.fromkeys(found)
    if others and not all(_same(first, other) for other in others):
        listed = ", ".join(str(path.relative_to(root)) for path in (first, *others[:2]))
        raise Ambiguous(f"{PurePosixPath(name).name!r} may be {listed}: name its folder too")
    return first


def _same(first: Path, second: Path) -> bool:
    try:
        if first.samefile(second):
            return True
        same_size = first.stat().st_size == second.stat().st_size
        return same_size and first.read_bytes() == second.read_bytes()
    except OSError:
        return False
