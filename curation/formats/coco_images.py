"""The images that COCO files list: which pictures they are, and who else lists them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from curation.formats.base import Problem
from curation.formats.coco_document import Twice, identity_of, size_of
from curation.formats.coco_files import CocoFile
from curation.formats.splits import TRAIN, TRAINVAL, VAL, split_in
from curation.formats.tree import Ambiguous, Tree
from curation.kernel import images
from curation.kernel.errors import AnnotationsInvalid, ImageUnreadable


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of ``images`` whose picture is there.

    Attributes:
        image: as the file has it.
        path: of the picture.
        real: the same without links, which tells one picture from another.
        size_wh: as stated, or of the picture where nothing is stated; (0, 0) where it has none.
    """

    image: Mapping[str, Any]
    path: Path
    real: Path
    size_wh: tuple[int, int]

    @property
    def identity(self) -> Any:
        """Its id, by which annotations refer to it."""
        return identity_of(self.image["id"])


@dataclass(slots=True)
class AnnotationFile:
    """One annotation file of a set.

    Attributes:
        file: where it lies.
        where: what to call it in messages.
        document: its three lists.
        entries: images whose pictures are there.
        problems: what is wrong with it.
        rest: the split of a file that is in none by its name, beside others that are in one.
    """

    file: CocoFile
    where: str
    document: Mapping[str, list[Any]]
    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    rest: str = ""

    @property
    def split(self) -> str:
        """The split of its images; "" where nothing tells it."""
        return self.file.split or self.rest

    def find_pictures(self, pictures: Tree) -> None:
        """Fill ``entries`` from the pictures that are there.

        Raises:
            AnnotationsInvalid: not one of several is there.
        """
        listed = distinct(self.document["images"], "image", self.where, self.problems)
        for image in listed:
            place = f"{self.where}, image {image['id']}"
            name = str(image["file_name"])
            try:
                path = self._find(pictures, name)
            except Ambiguous as error:
                self.problems.append(Problem(place, f"left out: {error}", "image"))
                continue
            if path is None:
                short = Path(name.replace("\\", "/")).name[:200]
                why = f"left out: no file {short!r} below {pictures.root.absolute().name}"
                self.problems.append(Problem(place, why, "image"))
                continue
            size = size_of(image)
            known = size if all(size) else picture_size(path)
            self.entries.append(Entry(image, path, path.resolve(), known))
        if not self.entries and len(listed) > 1:
            raise AnnotationsInvalid(
                f"{self.where}: none of its {len(listed)} pictures is below "
                f"{pictures.root.absolute().name}, such as {listed[0]['file_name']!r}: name the "
                "folder that they lie in with `--images`"
            )

    def _find(self, pictures: Tree, name: str) -> Path | None:
        for folder in self.file.own_folders:
            if path := pictures.stands(name, folder):
                return path
        found = pictures.find(name, self.file.folders)
        # Pictures are often numbered anew in each split: those of another one are not meant.
        return None if found is None or self._is_apart(name, pictures.splits_of(found)) else found

    def _is_apart(self, name: str, splits: set[str]) -> bool:
        """Whether none of the splits that folders tell may be that of the file, or of the name."""
        both = {TRAINVAL: {TRAIN, VAL, TRAINVAL}}.get(self.file.split, {self.file.split})
        said = {split_in(part) for part in name.replace("\\", "/").split("/")[:-1]}
        return bool(self.file.split and splits) and splits.isdisjoint(both | said)


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture, px; (0, 0) where it cannot be read, which is told later."""
    try:
        return images.size_of(path.read_bytes(), path.name)
    except (OSError, ImageUnreadable):
        return 0, 0


def distinct(
    entries: list[dict[str, Any]], what: str, where: str, problems: list[Problem]
) -> list[dict[str, Any]]:
    """Entries with an id that no other has; of two with one id, both are in doubt."""
    needed = "name" if what == "category" else "file_name"
    loses: Literal["image", "nothing"] = "nothing" if what == "category" else "image"
    counts = Counter(identity_of(entry.get("id")) for entry in entries)
    good = []
    for position, entry in enumerate(entries):
        identity = identity_of(entry.get("id"))
        place = f"{where}, {what} {identity if identity is not None else position}"
        if identity is None or not isinstance(entry.get(needed), str | int):
            why = f"left out: it needs `id` and `{needed}`"
            problems.append(Problem(place, why, loses))
        elif isinstance(entry, Twice):
            problems.append(Problem(place, f"left out: `{entry.key}` appears twice in it", loses))
        elif counts[identity] > 1:
            why = "left out: its id appears twice; give each its own"
            problems.append(Problem(place, why, loses))
        else:
            good.append(entry)
    return good


def splits_of(parts: Sequence[AnnotationFile]) -> dict[Path, set[str]]:
    """The splits that list each picture."""
    found: dict[Path, set[str]] = defaultdict(set)
    for part in parts:
        for entry in part.entries:
            found[entry.real] |= {part.split} - {""}
    return found


def shared(parts: Sequence[AnnotationFile]) -> set[Path]:
    """Pictures that several files list, as where each class has a file of its own."""
    listing = Counter(real for part in parts for real in {entry.real for entry in part.entries})
    return {real for real, count in listing.items() if count > 1}
