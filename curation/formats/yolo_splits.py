"""Splits of a YOLO data set: as its description says, as lists of pictures say, as folders say."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from curation.formats.class_lists import BREAK
from curation.formats.splits import HELD_OUT, TEST, TRAIN, TRAINVAL, VAL, split_in, split_name
from curation.formats.text_files import decode, read_bytes
from curation.formats.tree import IMAGE_SUFFIXES, Tree
from curation.formats.yolo_description import Description, bases_of, note_on_base, resolve
from curation.kernel.errors import AnnotationsInvalid

MAX_LIST_BYTES = 256 * 2**20
"""Of a list of pictures: two million long names."""
_LISTS = ("images", "all", "list")
"""Other names of lists than those of splits."""
_WORDS = frozenset(
    ("images", "image", "imgs", "img", "labels", "data", "obj", "set", "dataset", "autosplit")
)
"""What stands in the name of a split's folder beside the split: ``obj_train_data``."""
_PART = re.compile(r"[-_. ]")


@dataclass(slots=True)
class Splits:
    """Which pictures are in which split.

    Attributes:
        of: the splits of each picture; one that is in none is missing.
        described: whether a description or a list says so, and not only folders.
        named: splits that a description names, whether or not it leads to a picture.
        lists: text files that are lists of pictures.
        notes: what a person should know of it.
    """

    of: dict[Path, set[str]] = field(default_factory=lambda: defaultdict(set))
    described: bool = False
    named: set[str] = field(default_factory=set)
    lists: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def available(self) -> set[str]:
        """All splits that have a picture; and train, if it is not here, for val is not train."""
        return set[str]().union(*self.of.values(), self.named & {TRAIN})


def splits_of(tree: Tree, pictures: Tree, described: Sequence[Description]) -> Splits:
    """The splits of all pictures.

    Args:
        tree: the data set.
        pictures: the same, or a folder elsewhere.
        described: what it says of itself; where that leads nowhere, lists such as train.txt and
            then the names of folders tell.
    """
    splits = Splits(lists=[path for path in tree.with_suffix(".txt") if _is_list(path)])
    for description in described:
        _as_described(splits, description, tree, pictures)
    if not splits.of:
        for path in splits.lists:
            if split := folder_split(path.stem):
                _from_list(splits, split, path, tree, pictures)
    splits.described = bool(splits.of)
    for image in pictures.images():
        if image not in splits.of:
            parts = image.relative_to(pictures.root).parts[:-1]
            if split := next(filter(None, map(folder_split, parts)), ""):
                splits.of[image].add(split)
    _same_twice(splits)
    _train_by_default(splits, pictures.images())
    return splits


def folder_split(name: str) -> str:
    """The split that a folder's name is, such as ``train2017`` or ``obj_train_data``; else ""."""
    words = [word for word in _PART.split(name.casefold()) if word and word not in _WORDS]
    split = split_name("_".join(words))
    return split if split in (TRAIN, VAL, TEST, TRAINVAL) else ""


def _as_described(splits: Splits, description: Description, tree: Tree, pictures: Tree) -> None:
    where = description.file.name
    bases = bases_of(description, tree.root)
    if description.splits and (note := note_on_base(description, tree.root)):
        splits.notes.append(note)
    splits.named.update(description.splits)
    for split, texts in description.splits.items():
        for text in texts:
            found = None if pictures is tree else resolve(text, [pictures.root])
            found = found or resolve(text, bases)
            if found is None:
                splits.notes.append(
                    f"{where}: its {split} ({text[:80]}) is not inside of what was named"
                )
            elif found.suffix.lower() == ".txt" and found.is_file():
                splits.lists.append(found)
                _from_list(splits, split, found, tree, pictures)
            else:
                for image in pictures.images():
                    if image.is_relative_to(found):
                        splits.of[image].add(split)


def _from_list(splits: Splits, split: str, file: Path, tree: Tree, pictures: Tree) -> None:
    """Put the pictures that a list names into a split; it may name what is not there."""
    text = decode(read_bytes(file, MAX_LIST_BYTES), file.name)
    names = [line.strip() for line in BREAK.split(text) if line.strip()]
    own = file.parent.relative_to(tree.root).as_posix() if pictures is tree else ""
    folders = tuple(dict.fromkeys(("" if own == "." else own, "")))
    missing = []
    for name in names:
        try:
            image = pictures.find(name, folders)
        except AnnotationsInvalid as error:
            splits.notes.append(f"{file.name}: {error}; it is in no split")
            continue
        if image is None:
            missing.append(name)
        else:
            splits.of[image].add(split)
    if missing:
        splits.notes.append(
            f"{file.name} lists {len(missing)} pictures that are not here: "
            + ", ".join(name[-60:] for name in missing[:3])
        )


def _is_list(path: Path) -> bool:
    """Whether a text file lists pictures: by its name, and by its first line."""
    if path.stem.casefold() not in _LISTS and not split_in(path.stem):
        return False
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            line = next((text.strip() for text in stream if text.strip()), "")
    except OSError:
        return False
    return line.lower().endswith(IMAGE_SUFFIXES)


def _same_twice(splits: Splits) -> None:
    """Where train and a held-out split are the same pictures, nothing is held out."""
    images = _by_split(splits.of)
    for split in HELD_OUT:
        if split in images and images[split] == images.get(TRAIN):
            splits.notes.append(f"its {split} is its {TRAIN}: no picture is held out")
            for image in images[split]:
                splits.of[image].discard(split)


def _train_by_default(splits: Splits, images: Sequence[Path]) -> None:
    """Where only held-out splits are set apart, train is what is in none."""
    others = [image for image in images if not splits.of.get(image)]
    available = splits.available()
    if others and available and available <= set(HELD_OUT):
        splits.notes.append(f"{len(others)} images are in no split: they count as {TRAIN}")
        for image in others:
            splits.of[image].add(TRAIN)


def _by_split(of: Mapping[Path, set[str]]) -> dict[str, set[Path]]:
    images: dict[str, set[Path]] = defaultdict(set)
    for image, splits in of.items():
        for split in splits:
            images[split].add(image)
    return images
