"""Pascal VOC: an XML file an image; ``voc_files.py`` says where, ``voc_objects.py`` what it has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from curation.formats.base import (
    Imported,
    ImportedImage,
    Labels,
    Mended,
    Problem,
    ReadOptions,
    nothing_to_learn,
)
from curation.formats.coco_images import picture_size
from curation.formats.same_picture import one_each
from curation.formats.splits import Aside
from curation.formats.tree import Ambiguous, Tree
from curation.formats.voc_corners import counts_from_one, doubt_of
from curation.formats.voc_files import ImageSets, Pictures, xml_files
from curation.formats.voc_files import is_there as is_there
from curation.formats.voc_objects import UNREADABLE, Annotation, read_annotation
from curation.kernel.errors import AnnotationsInvalid


def read(source: Path, options: ReadOptions = ReadOptions()) -> Imported:
    """Read all VOC annotations below a folder; ``difficult`` objects become ignore regions.

    VOC counts pixels from 1 and includes the last one: boxes are moved by one to the top left,
    unless the boxes of the set show that they count from 0.

    Raises:
        AnnotationsInvalid: there is no annotation, or a split must be chosen.
    """
    tree = Tree.below(source)
    files, others = xml_files(tree)
    if not files:
        raise AnnotationsInvalid(f"{source.name}: no XML file of Pascal VOC in it")
    sets = ImageSets.of(tree)
    splits = sets.of_files(files)
    aside = Aside(options.splits.among(set[str]().union(*splits.values())))
    problems = [Problem("ImageSets", told, "nothing") for told in sets.problems]
    problems += _broken(tree)
    pictures = Pictures(source, tree if options.images is None else Tree.below(options.images))
    found: list[Annotation] = []
    corners: list[list[float]] = []
    for file in files:
        if not aside.takes(splits[file]):
            corners += _corners_in(file)
        elif (annotation := _annotation(file, pictures, problems)) is not None:
            found.append(annotation)
            corners += annotation.corners()
    return _imported(
        found,
        counts_from_one(corners),
        problems,
        options,
        (
            *_passed_over(others, source),
            *pictures.notes(),
            *aside.notes(),
            *tree.unlooked(),
        ),
    )


def _broken(tree: Tree) -> list[Problem]:
    """XML files that are there by name only."""
    why = "left out: cannot be read: it is a link that leads nowhere, or not a file"
    return [
        Problem(path.name, why, "image")
        for path in tree.unreadable
        if path.suffix.lower() == ".xml"
    ]


def _corners_in(file: Path) -> list[list[float]]:
    """Corners of a split that is left aside: where a set counts from is one thing for all of it."""
    try:
        return read_annotation(file).corners()
    except UNREADABLE:
        return []


def _annotation(file: Path, pictures: Pictures, problems: list[Problem]) -> Annotation | None:
    """One file and its picture; None where one of them is missing."""
    where = pictures.where(file)
    try:
        annotation = read_annotation(file)
        annotation.picture = pictures.of(file, annotation.filename)
    except Ambiguous as error:
        problems.append(Problem(where, f"left out: {error}", "image"))
        return None
    except UNREADABLE as error:
        cause = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else ""
        why = f"left out: {cause or f'not a VOC annotation ({error})'}"
        problems.append(Problem(where, why, "image"))
        return None
    annotation.where = where
    if annotation.picture is None:
        other = Path(annotation.filename.replace("\\", "/")).name[:200]
        names = f"{file.stem!r}" + (f" or {other!r}" if other and other != file.stem else "")
        problems.append(Problem(where, f"left out: no image {names}", "image"))
        return None
    if not all(annotation.size_wh):
        annotation.size_wh = picture_size(annotation.picture)
    return annotation


def _imported(
    found: Sequence[Annotation],
    counted: tuple[bool, str],
    problems: list[Problem],
    options: ReadOptions,
    notes: Sequence[str],
) -> Imported:
    written = [(one, annotation) for annotation in found for one in annotation.objects]
    corners = [row for annotation in found for row in annotation.corners()]
    from_one, why = counted
    mended = Mended()
    read = [(one.where, _image(one, from_one, options, mended, problems)) for one in found]
    items, repeated = one_each(read, problems, "several XML files")
    lost = [one.message.removeprefix("left out: ") for one in problems if one.loses == "labels"]
    sizes = [annotation.size_wh for one, annotation in written if one.corners is not None]
    told = [f"its boxes count pixels from 0 ({why}): taken as they stand"] if why else []
    if repeated:
        told.append(f"{repeated} XML files say again what another says of the same picture")
    return Imported(
        tuple(sorted({label for item in items for label in item.labels})),
        tuple(items),
        tuple(problems),
        doubt=doubt_of(corners, sizes, len(lost), len(written), next(iter(lost), "")),
        notes=(*told, *nothing_to_learn(items), *mended.notes(), *notes),
    )


def _image(
    annotation: Annotation,
    from_one: bool,
    options: ReadOptions,
    mended: Mended,
    problems: list[Problem],
) -> ImportedImage:
    labels = Labels(annotation.where, annotation.size_wh, problems)
    labels.mended, labels.clip = mended, options.clip
    for position, one in enumerate(annotation.objects):
        place = f"object {position}"
        if not one.name:
            labels.refuse(place, "it has no name")
            continue
        try:
            box = one.box(from_one, options.enclose_rotated, mended, annotation.size_wh)
            ignored = one.is_ignored()
        except AnnotationsInvalid as error:
            labels.refuse(place, str(error))
            continue
        labels.add(box, one.name, ignored, place)
    assert annotation.picture is not None
    return labels.image(annotation.picture)


def _passed_over(others: Sequence[Path], root: Path) -> list[str]:
    """A note about XML files of other kinds."""
    if not others:
        return []
    names = ", ".join(path.relative_to(root).as_posix() for path in others[:3])
    return [f"{len(others)} XML files that are no VOC annotations were passed over: {names}"]
