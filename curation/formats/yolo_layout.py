"""Which label file belongs to which picture of a YOLO data set.

The tools put labels into ``labels`` where the pictures are in ``images``, or beside the pictures.
Names are matched by what they are: Unicode form, case and Label Studio's prefix of uploads differ
between the two. What more than one picture claims belongs to none of them.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from curation.formats.base import Problem
from curation.formats.names import readings
from curation.formats.splits import split_in
from curation.formats.tree import Tree
from curation.formats.yolo_names import is_class_list
from curation.formats.yolo_rows import begins_like_rows

LABELS, SUFFIX = "labels", ".txt"
_IMAGES = ("images", "jpegimages")
"""Folders beside which the labels' own is, in lower case; the second as darknet has it."""
_HEAD = 4096
_LOOKED_AT = 100
"""Texts beside pictures that are opened to find out whether they are labels; captions are none."""

Key: TypeAlias = tuple[str, ...]
"""Parts of a path below its root, without the suffix."""


@dataclass(slots=True)
class Pairs:
    """Pictures and their label files.

    Attributes:
        label_of: the label file of each picture that has one.
        contested: why a picture cannot have the one it claims.
        alone: label files of no picture.
    """

    label_of: dict[Path, Path] = field(default_factory=dict)
    contested: dict[Path, Problem] = field(default_factory=dict)
    alone: list[Path] = field(default_factory=list)


def pairs_of(labels: Tree, pictures: Tree, lists: Sequence[Path] = ()) -> Pairs:
    """Match the pictures of a data set with its label files.

    Args:
        labels: the data set.
        pictures: the same, or a folder elsewhere; then a name that is there once is enough.
        lists: text files that are no label files, such as train.txt.
    """
    others = set(lists)
    files = [
        path
        for path in labels.with_suffix(SUFFIX)
        if path not in others and not is_class_list(path)
    ]
    found = _Matching(labels.root, files, pictures.root, pictures.images())
    for form in (_as_is, _composed, _folded):
        found.match(form, _places)
    found.match(_without_prefix, _places, back=True)
    if labels is not pictures:
        for form in (_folded, _without_prefix):
            found.match(form, _name_alone, back=True, only=True)
    return found.pairs(labels.root)


def _as_is(key: Key) -> Key:
    return key


def _composed(key: Key) -> Key:
    return tuple(unicodedata.normalize("NFC", part) for part in key)


def _folded(key: Key) -> Key:
    return tuple(part.casefold() for part in _composed(key))


def _without_prefix(key: Key) -> Key:
    """Without what Label Studio puts before the name of an uploaded file."""
    *_, plain = readings(key[-1])
    return (*_folded(key)[:-1], unicodedata.normalize("NFC", plain.name).casefold())


def _places(key: Key) -> Iterator[Key]:
    """Where the label file of a picture may lie."""
    for place in reversed(range(len(key) - 1)):
        if key[place].casefold() in _IMAGES:
            yield (*key[:place], LABELS, *key[place + 1 :])
    yield key
    yield (*key[:-1], LABELS, key[-1])
    yield (LABELS, *key)


def _name_alone(key: Key) -> Iterator[Key]:
    yield key[-1:]


@dataclass(slots=True)
class _Matching:
    label_root: Path
    labels: Sequence[Path]
    image_root: Path
    images: Sequence[Path]
    found: dict[Path, list[Path]] = field(default_factory=dict)

    def match(
        self,
        form: Callable[[Key], Key],
        places: Callable[[Key], Iterator[Key]],
        back: bool = False,
        only: bool = False,
    ) -> None:
        """Match what is left, by names of this form in these places.

        Args:
            form: what of a name counts.
            places: where a picture's label file may be.
            back: whether the form loses something that told files apart: then a label file that
                several pictures mean, or several that one means, are left alone.
            only: whether nothing but the file's own name counts, except that splits must agree.
        """
        used = {label for labels in self.found.values() for label in labels}
        by_key: dict[Key, list[Path]] = defaultdict(list)
        for label in self.labels:
            if label not in used:
                key = _label_key(label.relative_to(self.label_root))
                by_key[form(key[-1:] if only else key)].append(label)
        hits: dict[Path, list[Path]] = {}
        for image in self.images:
            if image in self.found or not by_key:
                continue
            key = _key(image.relative_to(self.image_root))
            keys = dict.fromkeys(form(place) for place in places(key))
            labels = [label for place in keys for label in by_key.get(place, ())]
            if only:
                labels = [one for one in labels if self._may_belong(image, one)]
            if labels and not (back and len(labels) > 1):
                hits[image] = labels
        claims: dict[Path, int] = defaultdict(int)
        for labels in hits.values():
            for label in labels:
                claims[label] += 1
        for image, labels in hits.items():
            if not back or claims[labels[0]] == 1:
                self.found[image] = labels

    def _may_belong(self, image: Path, label: Path) -> bool:
        splits = [
            {split_in(part) for part in path.relative_to(root).parts[:-1]} - {""}
            for path, root in ((image, self.image_root), (label, self.label_root))
        ]
        return not all(splits) or bool(splits[0] & splits[1])

    def pairs(self, root: Path) -> Pairs:
        """What was found, without what contradicts itself."""
        pairs = Pairs()
        claims: dict[Path, list[Path]] = defaultdict(list)
        for image, labels in self.found.items():
            if not _all_alike(labels):
                listed = ", ".join(path.relative_to(root).as_posix() for path in labels)
                why = f"its label files contradict each other: {listed}; keep the one that is right"
                pairs.contested[image] = _left_out(image, why)
                continue
            pairs.label_of[image] = labels[0]
            claims[labels[0]].append(image)
        for label, images in claims.items():
            if len(images) > 1 and not _all_alike(images):
                self._contested(label, images, pairs)
        used = {label for labels in self.found.values() for label in labels}
        pairs.alone = [one for one in self.labels if one not in used and _is_label(one, root)]
        return pairs

    def _contested(self, label: Path, images: Sequence[Path], pairs: Pairs) -> None:
        for image in images:
            others = ", ".join(one.name for one in images if one != image)
            why = f"{label.name} may be its label file or that of {others}: rename one of them"
            pairs.contested[image] = _left_out(image, why)
            del pairs.label_of[image]


def _key(path: Path) -> Key:
    return PurePosixPath(path.as_posix()).with_suffix("").parts


def _label_key(path: Path) -> Key:
    """As of a picture, with the usual spelling of ``labels``."""
    *folders, name = _key(path)
    return (*(LABELS if one.casefold() == LABELS else one for one in folders), name)


def _left_out(image: Path, why: str) -> Problem:
    return Problem(image.name, f"left out: {why}", "image")


def _all_alike(files: Sequence[Path]) -> bool:
    first, *others = dict.fromkeys(files)
    if not others:
        return True
    try:
        content = first.read_bytes()
        return all(other.read_bytes() == content for other in others)
    except OSError:
        return False


def is_labelled(tree: Tree) -> bool:
    """Whether a folder has label files: below ``labels``, or beside its pictures."""
    texts = [path for path in tree.with_suffix(SUFFIX) if not is_class_list(path)]
    if any(_in_labels(path, tree.root) for path in texts):
        return True
    pictures = {_folded(_key(path)) for path in tree.images()}
    beside = [path for path in texts if _folded(_key(path)) in pictures]
    return any(_has_rows(path) for path in beside[:_LOOKED_AT])


def _is_label(file: Path, root: Path) -> bool:
    """Whether a text file that no picture claims is a label file all the same."""
    return _in_labels(file, root) or _has_rows(file)


def _in_labels(file: Path, root: Path) -> bool:
    return any(part.casefold() == LABELS for part in file.relative_to(root).parts[:-1])


def _has_rows(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as stream:
            return begins_like_rows(stream.read(_HEAD))
    except OSError:
        return False
