"""Class names of a YOLO data set: all lists that lie in it, which must agree."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curation.formats.class_lists import MAX_BYTES, read_class_list
from curation.formats.hints import hint_above
from curation.formats.text_files import decode, read_bytes
from curation.formats.tree import Tree
from curation.kernel.errors import AnnotationsInvalid

CLASSES_FILE = "classes.txt"
NAMES_SUFFIX = ".names"
NOTES_FILE = "notes.json"
"""Of Label Studio, with COCO's categories."""
_ROBOFLOW = "_darknet.labels"
_YAML = (".yaml", ".yml")
_CATEGORIES = re.compile(r'"categories"\s*:')
_NAMES_KEY = re.compile(r"""^\s*\{?\s*["']?names["']?\s*:""", re.MULTILINE)

Names = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """Names of classes by number, None for a number without one.

    Attributes:
        names: of the lists.
        doubt: which of them contradict each other, and where; "" if all agree.
        notes: what a person should know of it.
    """

    names: Names
    doubt: str = ""
    notes: tuple[str, ...] = ()


def is_class_list(path: Path) -> bool:
    """Whether a file lists classes; a YAML or JSON file is looked into."""
    name = path.name.lower()
    if name == NOTES_FILE:
        return _has(path, _CATEGORIES)
    if path.suffix.lower() in _YAML:
        return _has(path, _NAMES_KEY)
    return name in (CLASSES_FILE, _ROBOFLOW) or name.endswith(NAMES_SUFFIX)


def _has(path: Path, key: re.Pattern[str]) -> bool:
    try:
        return bool(key.search(decode(read_bytes(path, MAX_BYTES), path.name)))
    except AnnotationsInvalid:
        return path.stem.lower() in ("data", "dataset")  # its error is told when it is read


def class_lists(tree: Tree) -> list[Path]:
    """All files of a data set that list its classes."""
    return [path for path in tree.files if is_class_list(path)]


def class_names(tree: Tree, chosen: Path | None = None, given: Names | None = None) -> Named:
    """The classes of a data set.

    Args:
        tree: the data set; nothing above or beside it is looked at.
        chosen: a description that a person named: its names count before others.
        given: names that a person gave instead; no list is read then.

    Raises:
        AnnotationsInvalid: no list is in the set, or one of them cannot be read.
    """
    if given is not None:
        return Named(given)
    files = class_lists(tree)
    if chosen is not None and chosen in files:
        files = [chosen, *(path for path in files if path != chosen)]
    if not files:
        hint = hint_above(tree.root) or "name the set's own folder, with `--split` for a part of it"
        raise AnnotationsInvalid(
            f"{tree.root.resolve().name}: no names of classes in it (classes.txt, obj.names, or "
            f"data.yaml with `names`): {hint}, or give the list with `--classes FILE`"
        )
    lists = [(path, read_class_list(path).names) for path in files]
    shown = [path.relative_to(tree.root).as_posix() for path, _ in lists]
    merged, wrong = _merged([names for _, names in lists], shown)
    if wrong and chosen is not None and files[0] == chosen:
        return Named(lists[0][1], notes=(f"{wrong}; {chosen.name} counts, for it was named",))
    told = f"{wrong}: mend one, or say which with `--classes FILE`" if wrong else ""
    return Named(merged, told)


def _merged(lists: Sequence[Names], shown: Sequence[str]) -> tuple[Names, str]:
    """What lists say together, and the first contradiction.

    A shorter list may be of a part of the set, and a number without a name says nothing.
    """
    merged: list[str | None] = []
    owner: dict[int, str] = {}
    for names, where in zip(lists, shown, strict=True):
        for number, name in enumerate(names):
            if number == len(merged):
                merged.append(None)
            known = merged[number]
            if name is None or name == known:
                continue
            if known is not None:
                return lists[0], (
                    f"{owner[number]} and {where} disagree: class {number} is {known!r} in the "
                    f"one and {name!r} in the other"
                )
            if name in merged:
                other = merged.index(name)
                return lists[0], (
                    f"{owner[other]} and {where} disagree: {name!r} is class {other} in the one "
                    f"and {number} in the other"
                )
            merged[number] = name
            owner[number] = where
    return tuple(merged), ""
