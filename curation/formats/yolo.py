"""YOLO: one text file an image, each row ``class cx cy width height`` in shares of the image.

Read ``yolo_layout.py`` for which file belongs to which image, ``yolo_names.py`` for the classes,
``yolo_description.py`` and ``yolo_splits.py`` for data.yaml and splits, ``yolo_rows.py`` and
``yolo_boxes.py`` for what a row may be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from curation.formats import doubt
from curation.formats.base import (
    Imported,
    ImportedImage,
    Labels,
    Mended,
    Problem,
    ReadOptions,
)
from curation.formats.splits import Aside
from curation.formats.text_files import decode, read_bytes
from curation.formats.tree import Tree
from curation.formats.yolo_boxes import NotABox, box_of, doubt_of_rows
from curation.formats.yolo_description import descriptions, is_description
from curation.formats.yolo_label_files import is_labelled
from curation.formats.yolo_layout import Pairs, pairs_of
from curation.formats.yolo_names import Named, class_lists, class_names
from curation.formats.yolo_rows import SIXTH, Reading, Row, Rows
from curation.formats.yolo_splits import Splits, splits_of
from curation.kernel import images
from curation.kernel.class_names import BACKGROUND
from curation.kernel.errors import AnnotationsInvalid, ImageUnreadable

__all__ = ["is_description", "is_there", "read"]

MAX_BYTES = 64 * 2**20
"""Of one label file: outlines of thousands of objects have ten."""
_OTHERS = (".names", ".data", ".labels", ".cache")
"""Suffixes of a YOLO set's own files that are neither pictures nor texts."""


def is_there(tree: Tree) -> bool:
    """Whether a folder holds a YOLO data set: label files, or just images and their classes."""
    if is_labelled(tree):
        return True
    lists = class_lists(tree)
    others = set(tree.with_suffix(".json", ".xml")) - set(lists)
    return bool(lists) and not others and bool(tree.images())


def read(source: Path, options: ReadOptions = ReadOptions()) -> Imported:
    """Read a YOLO data set: a folder, or the data.yaml or obj.data in it.

    Labels lie in ``labels`` where the images are in ``images``, or beside the images. Nothing above
    or beside what was named is looked at.

    Raises:
        AnnotationsInvalid: the class names, the images or the wanted split are missing.
    """
    chosen = source if source.is_file() else None
    tree = Tree.below(source.parent if chosen else source)
    pictures = tree if options.images is None else Tree.below(options.images)
    if not pictures.images():
        raise AnnotationsInvalid(
            f"{source.resolve().name}: no image in it; name the folder that they lie in with "
            "`--images`"
        )
    named = class_names(tree, chosen, options.class_names)
    described = descriptions(tree, chosen)
    splits = splits_of(tree, pictures, described)
    pairs = pairs_of(tree, pictures, splits.lists)
    aside = _aside(splits, options, pictures.images())
    taken = [image for image in pictures.images() if aside.takes(splits.of.get(image, ()))]
    key_points = max((one.key_points for one in described), default=0)
    reader = _Reader(tree, named, options, key_points=key_points)
    reader.read(taken, pairs)
    items = reader.items()
    used = [path for path in tree.files if path.suffix.lower() in _OTHERS]
    notes = [*named.notes, *splits.notes, *aside.notes(), *reader.notes(), *tree.unlooked(used)]
    if pictures is not tree:
        notes += pictures.unlooked()
    return Imported(
        tuple(name for name in named.names if name is not None and name != BACKGROUND),
        tuple(items),
        tuple(reader.problems),
        doubt=named.doubt or _doubt_of_files(pairs, taken) or reader.doubt(),
        notes=tuple(notes),
    )


def _aside(splits: Splits, options: ReadOptions, images: Sequence[Path]) -> Aside:
    try:
        taken = options.splits.among(splits.available())
    except AnnotationsInvalid as error:
        raise AnnotationsInvalid("; ".join([str(error), *splits.notes])) from error
    others = sum(not splits.of.get(image) for image in images)
    if taken.splits is None and splits.described and others:
        splits.notes.append(f"{others} images are in no split that is listed; they were taken, too")
    return Aside(taken)


def _doubt_of_files(pairs: Pairs, taken: Sequence[Path]) -> str:
    """Why images without labels are not to be taken for empty; "" if labels belong to images."""
    used = sum(image in pairs.label_of for image in taken)
    alone = len(pairs.alone)
    if alone > len(pairs.label_of):
        return (
            f"{alone} of its {len(pairs.label_of) + alone} label files have no image: they must "
            "lie below `labels` as the images lie below `images`, or beside them, under the same "
            "names"
        )
    if taken and not used and not pairs.contested:
        return f"none of its {len(taken)} images has a label file"
    return ""


@dataclass(slots=True)
class _Reader:
    """The label files of the images that are taken, which are judged together."""

    tree: Tree
    named: Named
    options: ReadOptions
    key_points: int = 0
    problems: list[Problem] = field(default_factory=list)
    mended: Mended = field(default_factory=Mended)
    files: list[tuple[Path, Path | None, Rows]] = field(default_factory=list)
    reading: Reading = field(default_factory=Reading)
    kinds: Counter[str] = field(default_factory=Counter)
    _names: Counter[str] = field(default_factory=Counter)

    def read(self, taken: Sequence[Path], pairs: Pairs) -> None:
        """Read all rows; what no image or no file can have is a problem."""
        self._names.update(path.name for path in (*pairs.label_of.values(), *pairs.alone))
        for image in taken:
            if problem := pairs.contested.get(image):
                self.problems.append(problem)
                continue
            label = pairs.label_of.get(image)
            where = self.shown(label or image)
            try:
                text = "" if label is None else decode(read_bytes(label, MAX_BYTES), where)
            except AnnotationsInvalid as error:
                told = str(error).removeprefix(where).lstrip(":, ")
                self.problems.append(Problem(where, f"left out: {told}", "image"))
                continue
            self.files.append((image, label, Rows.of(text)))
        rows = [rows.good for _, _, rows in self.files]
        self.reading = Reading.of(rows, self.key_points, self.options.enclose_rotated)
        for label in pairs.alone:
            told = "left out: there is no image of this name"
            self.problems.append(Problem(self.shown(label), told))

    def shown(self, file: Path) -> str:
        """The name of a file; with its folders where several have this name."""
        if self._names[file.name] > 1 and file.is_relative_to(self.tree.root):
            return file.relative_to(self.tree.root).as_posix()
        return file.name

    def items(self) -> list[ImportedImage]:
        """The images with their boxes; one that cannot be read is a problem."""
        found = (self._item(*file) for file in self.files)
        return [item for item in found if item is not None]

    def _item(self, image: Path, label: Path | None, rows: Rows) -> ImportedImage | None:
        try:
            size_wh = images.size_of(image.read_bytes(), image.name)
        except (OSError, ImageUnreadable) as error:
            told = f"left out: not a readable image ({error})"
            self.problems.append(Problem(image.name, told, "image"))
            return None
        labels = Labels(
            self.shown(label or image),
            size_wh,
            self.problems,
            mended=self.mended,
            clip=self.options.clip,
        )
        for line, why in rows.wrong:
            labels.refuse(f"line {line}", why)
        for row in rows.good:
            self._add(labels, row)
        self.kinds["comment"] += rows.comments
        return labels.image(image, unlabelled=label is None)

    def _add(self, labels: Labels, row: Row) -> None:
        place = f"line {row.line}"
        names = self.named.names
        name = names[row.number] if 0 <= row.number < len(names) else None
        if name is None:
            gap = 0 <= row.number < len(names)
            told = "has no name in the list" if gap else f"of {len(names)}"
            labels.refuse(place, f"class {row.number} {told}")
            return
        try:
            box, kind = box_of(
                row, self.reading, labels.size_wh, self.options.enclose_rotated, self.mended
            )
        except NotABox as error:
            labels.refuse(place, str(error))
            return
        before = len(labels.boxes)
        labels.add(box, name, False, place)
        if len(labels.boxes) > before:
            self.kinds[kind] += 1
            self.kinds["sixth"] += len(row.values) == SIXTH

    def doubt(self) -> str:
        """Why nothing is what it seems; "" if all is well."""
        rows = [row for _, _, file in self.files for row in file.good]
        if wrong := doubt_of_rows(rows, self.reading, self.named.names):
            return wrong
        refused = [one for one in self.problems if ", line " in one.where]
        count = sum(file.count for _, _, file in self.files)
        cause = ""
        if refused:
            cause = f"{refused[0].where}: {refused[0].message.removeprefix('left out: ')}"
        return doubt.most(len(refused), count, cause)

    def notes(self) -> tuple[str, ...]:
        """What was taken otherwise than it stands."""
        self.mended.outlines += self.kinds["outline"]
        self.mended.enclosing += self.kinds["enclosing"]
        sixth = {
            "confidence": (
                "taken for a confidence; small angles in radians would look alike, and "
                "`--enclose-rotated` reads them"
            ),
            "track": "taken for the number of a track",
            "radians": "taken for an angle in radians",
            "degrees": "taken for an angle in degrees",
            "angle or track": "taken for an angle in degrees",
            "?": "taken for an angle in radians",
        }
        told = (
            (self.kinds["sixth"], f"rows have a sixth number: {sixth.get(self.reading.sixth, '')}"),
            (self.kinds["key points"], "rows have key points: only their boxes were taken"),
            (self.kinds["comment"], "lines begin with # and were passed over"),
        )
        return (*self.mended.notes(), *(f"{count} {what}" for count, what in told if count))
