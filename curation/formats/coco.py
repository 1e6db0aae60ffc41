"""COCO: JSON files with images, categories and annotations; see ``coco_files.py`` for which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from curation.formats.base import Imported, Mended, Problem, ReadOptions, nothing_to_learn
from curation.formats.coco_document import read_document
from curation.formats.coco_files import CocoFile, candidates, claims_to_be_coco, listed, root_of
from curation.formats.coco_files import require_json as require_json
from curation.formats.coco_images import AnnotationFile, shared, splits_of
from curation.formats.coco_objects import Reader
from curation.formats.coco_write import dump as dump
from curation.formats.splits import Aside, rest_of
from curation.formats.tree import Tree
from curation.kernel.errors import AnnotationsInvalid


def is_there(tree: Tree) -> bool:
    """Whether a folder holds a COCO file."""
    return any(claims_to_be_coco(path) for path in tree.with_suffix(".json"))


def read(source: Path, options: ReadOptions = ReadOptions()) -> Imported:
    """Read a COCO file, or all of a folder; crowds and the like become ignore regions.

    Of several files each is one split, one class, or more images of the same set.

    Raises:
        AnnotationsInvalid: it is not a COCO file, or there is none; a split must be chosen.
    """
    tree = Tree.below(root_of(source))
    parts, problems, notes = _parts(source, tree)
    pictures = tree if options.images is None else Tree.below(options.images)
    if options.images is not None:
        for part in parts:
            part.file = replace(part.file, base="")
    available = {part.file.split for part in parts} - {""}
    for part in parts:
        part.rest = rest_of(available)
    aside = Aside(options.splits.among({part.split for part in parts} - {""}))
    taken = [part for part in parts if aside.taken.has({part.split})]
    for part in parts:
        try:
            part.find_pictures(pictures)
        except AnnotationsInvalid as error:
            if len(taken) == 1 and part in taken:
                raise
            if part in taken:
                part.problems.append(Problem(part.where, f"left out: {error}", "image"))
    mended = Mended()
    splits = splits_of(parts)
    takes = {real: aside.takes(among) for real, among in splits.items()}
    several = shared(taken)
    readers = [Reader(part, takes, several, options, mended) for part in taken]
    for reader in readers:
        reader.read()
    items = [item for reader in readers for item in reader.items]
    problems += [problem for reader in readers for problem in reader.part.problems]
    told = [note for reader in readers for note in reader.notes]
    return Imported(
        tuple(dict.fromkeys(name for reader in readers for name in reader.classes)),
        tuple(items),
        tuple(problems),
        doubt=next((doubt for reader in readers if (doubt := reader.doubt(len(parts) > 1))), ""),
        notes=(
            *notes,
            *told,
            *nothing_to_learn(items),
            *mended.notes(),
            *aside.notes(),
            *_unlisted(pictures, splits),
            *(tree.unlooked() if source.is_dir() else ()),
        ),
    )


def _parts(source: Path, tree: Tree) -> tuple[list[AnnotationFile], list[Problem], list[str]]:
    """The files that are read, what is wrong with others, and notes.

    Raises:
        AnnotationsInvalid: there is none, or the only one is no COCO file.
    """
    if source.is_file():
        require_json(source)
        file = CocoFile.at(source.absolute(), tree.root)
        return [AnnotationFile(file, source.name, read_document(source))], [], []
    files, others = candidates(tree)
    if not files:
        there = f"; {listed(others, tree.root)} has not its three lists" if others else ""
        raise AnnotationsInvalid(
            f"{source.name}: no COCO file found{there}; name the file itself, with `images`, "
            "`categories` and `annotations` in it"
        )
    parts, problems = [], []
    for file in files:
        where = file.path.relative_to(tree.root).as_posix()
        try:
            parts.append(AnnotationFile(file, where, read_document(file.path)))
        except AnnotationsInvalid as error:
            if len(files) == 1:
                raise
            problems.append(Problem(where, f"left out: {error}", "image"))
    if not parts:
        raise AnnotationsInvalid(problems[0].message.removeprefix("left out: "))
    told = f"JSON files that are no COCO files of detection were passed over: {len(others)}"
    return parts, problems, [f"{told}, {listed(others, tree.root)}"] if others else []


def _unlisted(pictures: Tree, known: Mapping[Path, object]) -> list[str]:
    """A note about pictures that no file lists, in folders of those that one lists."""
    if not known:
        return []
    beside = {real.parent for real in known}
    real = {path.resolve() for path in pictures.images()}
    others = [path for path in real - known.keys() if path.parent in beside]
    return [f"{len(others)} pictures beside them are in no COCO file"] if others else []
