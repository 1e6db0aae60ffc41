"""YOLO's label files: what is one and what is another text."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from curation.formats.tree import Tree
from curation.formats.yolo_names import is_class_list
from curation.formats.yolo_rows import begins_like_rows

LABELS, SUFFIX = "labels", ".txt"
_LABELS = re.compile(r"(?<![a-z])labels(?![a-z])")
"""In the name of a folder of label files."""
_HEAD = 4096
_LOOKED_AT = 100
"""Texts beside pictures that are opened to find out whether they are labels; captions are none."""

Key: TypeAlias = tuple[str, ...]
"""Parts of a path below its root, without the suffix."""


def key_of(path: Path) -> Key:
    """The key of a path."""
    return PurePosixPath(path.as_posix()).with_suffix("").parts


def is_labelled(tree: Tree) -> bool:
    """Whether a folder has label files: below ``labels``, or beside its pictures."""
    texts = [path for path in tree.with_suffix(SUFFIX) if not is_class_list(path)]
    if any(_in_labels(path, tree.root) for path in texts):
        return True
    pictures = {_plain(path) for path in tree.images()}
    beside = [path for path in texts if _plain(path) in pictures]
    return any(_has_rows(path) for path in beside[:_LOOKED_AT])


def is_label(file: Path, root: Path) -> bool:
    """Whether a text file that no picture claims is a label file all the same."""
    return _in_labels(file, root) or _has_rows(file)


def _in_labels(file: Path, root: Path) -> bool:
    return any(_LABELS.search(part.casefold()) for part in file.relative_to(root).parts[:-1])


def _has_rows(file: Path) -> bool:
    return begins_like_rows(_head(file))


def is_prose(file: Path) -> bool:
    """Whether a text is something else than labels, such as a caption; an empty one is labels."""
    return bool(_head(file).strip()) and not _has_rows(file)


def _head(file: Path) -> str:
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as stream:
            return stream.read(_HEAD)
    except OSError:
        return ""


def _plain(path: Path) -> Key:
    return tuple(part.casefold() for part in key_of(path))
