"""The objects of one COCO file: each with its image, and of two truths of a picture neither."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from curation.formats.base import ImportedImage, Labels, Mended, Problem, ReadOptions
from curation.formats.coco_annotations import is_ignored, shape_of
from curation.formats.coco_document import (
    Twice,
    doubt_of_boxes,
    doubt_of_ids,
    doubt_of_most,
    identity_of,
)
from curation.formats.coco_images import AnnotationFile, Entry, distinct
from curation.formats.same_picture import one_each
from curation.kernel.class_names import clean_class_name, wrong_class_name
from curation.kernel.errors import AnnotationsInvalid

SHOWN = 10
"""Categories that a message lists; some sets have a thousand."""


@dataclass(slots=True)
class Reader:
    """Reads the objects of one file.

    Attributes:
        part: the file.
        takes: whether a picture is of a split that is taken.
        shared: pictures that other files list, too.
        options: what a person said.
        mended: counts what is not as it stands.
        items: images with labels.
        classes: names that can be used.
        notes: for a person.
    """

    part: AnnotationFile
    takes: Mapping[Path, bool]
    shared: Collection[Path]
    options: ReadOptions
    mended: Mended
    items: list[ImportedImage] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def read(self) -> None:
        """Fill ``items``, ``classes`` and ``notes``."""
        where, problems = self.part.where, self.part.problems
        categories = distinct(self.part.document["categories"], "category", where, problems)
        names = {identity_of(one["id"]): str(one["name"]) for one in categories}
        good, bad = self._by_image(names)
        found = [
            (
                f"{where}, image {entry.image['id']}",
                self._image(entry, good[entry.identity], bad[entry.identity], names),
            )
            for entry in self.part.entries
            if self.takes[entry.real]
        ]
        self.items, repeated = one_each(found, problems, "several entries in `images`")
        if repeated:
            self.notes.append(f"{where}: {repeated} images are listed again with the same objects")
        usable = [name for name in names.values() if not wrong_class_name(name)]
        self.classes = list(dict.fromkeys(map(clean_class_name, usable)))
        self.notes += _of_ids(where, self.part.document["annotations"], usable)
        if found and not self.part.document["annotations"]:
            told = f"{where} has no annotation at all: its {len(found)} images count as empty"
            self.notes.append(told)

    def _by_image(
        self, names: Mapping[Any, str]
    ) -> tuple[dict[Any, list[dict[str, Any]]], dict[Any, list[Problem]]]:
        """Annotations whose references are right and the problems of the others, by image."""
        known = {identity_of(image.get("id")) for image in self.part.document["images"]} - {None}
        good: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        bad: dict[Any, list[Problem]] = defaultdict(list)
        for position, entry in enumerate(self.part.document["annotations"]):
            identity, image = identity_of(entry.get("id")), identity_of(entry.get("image_id"))
            if isinstance(entry, Twice):
                wrong = f"`{entry.key}` appears twice in it"
            elif image not in known:
                wrong = f"no image {entry.get('image_id')!r}"
            elif identity_of(entry.get("category_id")) not in names:
                there = [f"{key!r} ({name})" for key, name in islice(names.items(), SHOWN)]
                more = ", …" if len(names) > SHOWN else ""
                listed = ", ".join(there) + more
                wrong = f"unknown category {entry.get('category_id')!r}; there are {listed}"
            else:
                good[image].append(entry)
                continue
            place = f"{self.part.where}, annotation {position if identity is None else identity}"
            self.part.problems.append(Problem(place, f"left out: {wrong}"))
            bad[image].append(self.part.problems[-1])
        return good, bad

    def _image(
        self,
        entry: Entry,
        annotations: list[dict[str, Any]],
        refused: list[Problem],
        names: Mapping[Any, str],
    ) -> ImportedImage:
        where = f"{self.part.where}, image {entry.image['id']}"
        labels = Labels(where, entry.size_wh, self.part.problems, refused=refused)
        labels.mended, labels.clip = self.mended, self.options.clip
        for one in annotations:
            place = f"annotation {one.get('id')}"
            try:
                shape = shape_of(one, entry.size_wh, self.options.enclose_rotated)
                ignored = is_ignored(one)
            except AnnotationsInvalid as error:
                labels.refuse(place, str(error))
                continue
            shape.count(self.mended)
            name = names[identity_of(one["category_id"])]
            labels.add(shape.box_xyxy, name, ignored, place)
        said_in = str(self.part.file.path)
        return labels.image(entry.path, self._group(entry), annotated_in=said_in)

    def _group(self, entry: Entry) -> str:
        """As the image says; else the name of the file, where that tells one set from another."""
        if "group" in entry.image:
            said = entry.image["group"]
            return str(said) if isinstance(said, str | int) else ""
        alone = entry.real not in self.shared and not self.part.file.is_set
        return self.part.file.path.stem if alone else ""

    def doubt(self, several: bool) -> str:
        """Why nothing of the file can be trusted; "" if all is well."""
        lost = [one for one in self.part.problems if one.loses == "labels"]
        first = lost[0].message.removeprefix("left out: ") if lost else ""
        document = self.part.document
        sizes = {entry.identity: entry.size_wh for entry in self.part.entries}
        doubts = (
            doubt_of_ids(document),
            doubt_of_boxes(document, sizes),
            doubt_of_most(document, len(lost), first),
        )
        wrong = next(filter(None, doubts), "")
        return f"of {self.part.where}: {wrong}" if wrong and several else wrong


def _of_ids(where: str, annotations: Sequence[Mapping[str, Any]], names: list[str]) -> list[str]:
    """Notes about ids that repeat where it does no harm."""
    notes = []
    counts = Counter(identity_of(entry.get("id")) for entry in annotations)
    del counts[None]
    if again := counts.total() - len(counts):
        notes.append(
            f"{where}: ids of annotations repeat, {again} times, as where files were joined"
        )
    same = [name for name, count in Counter(map(clean_class_name, names)).items() if count > 1]
    if same:
        notes.append(f"{where}: several categories have the name {', '.join(same[:5])}: one class")
    return notes
