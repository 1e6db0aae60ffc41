"""Which label file belongs to which picture of a YOLO data set.

The tools put labels into ``labels`` where the pictures are in ``images``, or beside the pictures.
Names are matched by what they are: Unicode form, case and Label Studio's prefix of uploads differ
between the two. What more than one picture claims belongs to none of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from curation.formats.base import Problem
from curation.formats.names import readings
from curation.formats.splits import split_in
from curation.formats.tree import Tree
from curation.formats.yolo_label_files import LABELS, SUFFIX, Key, is_label, is_prose, key_of
from curation.formats.yolo_names import is_class_list

_IMAGES = re.compile(r"(?<![a-z])(jpeg)?images(?![a-z])")
"""In the name of a folder beside which the labels' own is; darknet has JPEGImages, too."""
_UPLOAD = re.compile(r"(?=[0-9]*[a-f])[0-9a-f]{8}(-|__)")
"""Label Studio's prefix of an uploaded file, with a letter in it."""


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
        found.take(found.hits(form, _places))
    # Eight digits may be a date, which is no prefix: letters in another one tell.
    prefixed = found.hits(_without_prefix, _places)
    names = [path.name for image, hits in prefixed.items() for path in (image, *hits)]
    found.take(prefixed, sure=any(map(_UPLOAD.match, names)))
    if labels is not pictures:
        for form in (_folded, _without_prefix):
            only = found.only(form)
            for image, hits in found.hits(form, _name_alone, alone=True).items():
                found.take({image: hits}, sure=image in only)
    return found.pairs()


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
        folder, changed = _IMAGES.subn(LABELS, key[place].casefold())
        if changed:
            yield (*key[:place], folder, *key[place + 1 :])
    yield key
    yield (*key[:-1], LABELS, key[-1])
    yield (LABELS, *key)


def _name_alone(key: Key) -> Iterator[Key]:
    yield key[-1:]


@dataclass(slots=True)
class _Matching:
    """Pictures that have no label file yet, and label files that no picture has."""

    label_root: Path
    labels: Sequence[Path]
    image_root: Path
    images: Sequence[Path]
    found: dict[Path, list[Path]] = field(default_factory=dict)
    unsure: dict[Path, list[Path]] = field(default_factory=dict)

    def hits(
        self,
        form: Callable[[Key], Key],
        places: Callable[[Key], Iterator[Key]],
        alone: bool = False,
    ) -> dict[Path, list[Path]]:
        """Label files that pictures may have among those that are left.

        Args:
            form: what of a name counts.
            places: where a picture's label file may be.
            alone: whether folders count for nothing, except that splits must agree.
        """
        used = {label for labels in self.found.values() for label in labels}
        by_key: dict[Key, list[Path]] = defaultdict(list)
        for label in self.labels:
            if label not in used:
                key = _label_key(label.relative_to(self.label_root))
                by_key[form(key[-1:] if alone else key)].append(label)
        hits: dict[Path, list[Path]] = {}
        for image in self.images:
            if image in self.found or not by_key:
                continue
            key = key_of(image.relative_to(self.image_root))
            keys = dict.fromkeys(form(place) for place in places(key))
            labels = [label for place in keys for label in by_key.get(place, ())]
            if labels := [one for one in labels if not alone or self._may_belong(image, one)]:
                hits[image] = labels
        return hits

    def take(self, hits: dict[Path, list[Path]], sure: bool = True) -> None:
        """Match pictures with label files, or note that they may belong together."""
        (self.found if sure else self.unsure).update(hits)

    def only(self, form: Callable[[Key], Key]) -> set[Path]:
        """Pictures of whose names there are one picture and one label file, wherever they lie."""
        names = {image: form(key_of(Path(image.name))) for image in self.images}
        images = Counter(names.values())
        labels = Counter(form(key_of(Path(label.name))) for label in self.labels)
        return {one for one, name in names.items() if images[name] == 1 and labels[name] == 1}

    def _may_belong(self, image: Path, label: Path) -> bool:
        splits = [
            {split_in(part) for part in path.relative_to(root).parts[:-1]} - {""}
            for path, root in ((image, self.image_root), (label, self.label_root))
        ]
        return not all(splits) or bool(splits[0] & splits[1])

    def pairs(self) -> Pairs:
        """What was found, without what contradicts itself."""
        pairs = Pairs()
        claims: dict[Path, list[Path]] = defaultdict(list)
        for image, labels in self.found.items():
            rows = [one for one in labels if not is_prose(one)] if len(labels) > 1 else labels
            if not rows or not _all_alike(rows):
                why = f"its label files contradict each other: {self._listed(labels)}"
                pairs.contested[image] = _left_out(image, f"{why}; keep the one that is right")
                continue
            pairs.label_of[image] = rows[0]
            claims[rows[0]].append(image)
        for label, images in claims.items():
            if len(images) > 1 and not _all_alike(images):
                _contest(label, images, pairs)
        for image, labels in self.unsure.items():
            why = f"{self._listed(labels)} may be its label file or another's: name them alike"
            if image not in self.found:
                pairs.contested[image] = _left_out(image, why)
        used = {label for labels in self.found.values() for label in labels}
        pairs.alone = [
            one for one in self.labels if one not in used and is_label(one, self.label_root)
        ]
        return pairs

    def _listed(self, labels: Sequence[Path]) -> str:
        return ", ".join(path.relative_to(self.label_root).as_posix() for path in labels)


def _contest(label: Path, images: Sequence[Path], pairs: Pairs) -> None:
    for image in images:
        others = ", ".join(one.name for one in images if one != image)
        why = f"{label.name} may be its label file or that of {others}: rename one of them"
        pairs.contested[image] = _left_out(image, why)
        del pairs.label_of[image]


def _label_key(path: Path) -> Key:
    """As of a picture, with the usual spelling of ``labels``."""
    *folders, name = key_of(path)
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
