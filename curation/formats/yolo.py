"""YOLO: one text file an image, each line ``class cx cy width height`` in shares of the image."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from curation import images
from curation.boxes import cxcywh_to_xyxy
from curation.errors import AnnotationsInvalid, ImageUnreadable
from curation.formats.base import Imported, ImportedImage, Labels, Problem, image_files

LABEL_FOLDER, IMAGE_FOLDER = "labels", "images"
NAMES_FILE = "classes.txt"


def labels_folder(source: Path) -> Path | None:
    """The folder with the label files, None where there is none."""
    folder = source / LABEL_FOLDER
    return folder if folder.is_dir() else None


def read(source: Path) -> Imported:
    """Read a YOLO folder: ``images/``, ``labels/`` and ``data.yaml`` or ``classes.txt``.

    The class names may lie beside the labels, or above the folder where it is one split of a set.

    Raises:
        AnnotationsInvalid: the class names or the folders are missing.
    """
    labels = labels_folder(source)
    pictures = source / IMAGE_FOLDER
    if labels is None or not pictures.is_dir():
        raise AnnotationsInvalid(f"{source.name}: expected folders `images` and `labels`")
    names = _class_names(source)
    problems: list[Problem] = []
    items = []
    used = set()
    for path in image_files(pictures):
        file = (labels / path.relative_to(pictures)).with_suffix(".txt")
        used.add(file)
        item = _image(path, file, names, problems)
        if item is not None:
            items.append(item)
    used.add(labels / NAMES_FILE)
    for file in sorted(set(labels.rglob("*.txt")) - used):
        problems.append(Problem(file.name, "left out: there is no image of this name"))
    return Imported(names, tuple(items), tuple(problems))


def _image(
    path: Path, file: Path, names: tuple[str, ...], problems: list[Problem]
) -> ImportedImage | None:
    try:
        width, height = images.size_of(path.read_bytes(), path.name)
    except (OSError, ImageUnreadable) as error:
        problems.append(Problem(path.name, f"left out: not a readable image ({error})"))
        return None
    labels = Labels(file.name, (width, height), problems)
    lines = _text(file).splitlines() if file.is_file() else []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            label, *shares = line.split()
            name = names[int(label)] if int(label) >= 0 else names[len(names)]
            # A sixth number is a confidence or a track; more are a polygon, which is no box.
            cx, cy, w, h = (float(share) for share in (shares[:4] if len(shares) < 6 else shares))
        except IndexError:
            problems.append(
                Problem(f"{file.name}, {place}", f"left out: class {label} of {len(names)}")
            )
            continue
        except ValueError:
            problems.append(
                Problem(f"{file.name}, {place}", "left out: expected `class cx cy width height`")
            )
            continue
        with np.errstate(over="ignore", invalid="ignore"):  # infinite boxes are refused
            shape = np.array([[cx * width, cy * height, w * width, h * height]], np.float32)
            box = cxcywh_to_xyxy(shape)[0]
        labels.add(box.tolist(), name, False, place)
    return labels.image(path)


def _class_names(source: Path) -> tuple[str, ...]:
    for folder in (source, source / LABEL_FOLDER, source.resolve().parent):
        listed = folder / NAMES_FILE
        if listed.is_file():
            return tuple(filter(None, map(str.strip, _text(listed).splitlines())))
        for name in ("data.yaml", "data.yml"):
            if (folder / name).is_file():
                return _names_of_yaml(_text(folder / name), name)
    raise AnnotationsInvalid(f"{source.name}: no classes.txt and no data.yaml with `names`")


def _names_of_yaml(text: str, where: str) -> tuple[str, ...]:
    """``names`` of a data.yaml, as a list or as a map; all that is needed of YAML here."""
    inline = re.search(r"^names:\s*\[(.*?)\]", text, re.M | re.S)
    if inline:
        return tuple(_bare(part) for part in inline.group(1).split(",") if _bare(part))
    block = re.search(r"^names:\s*\n((?:[ \t]+.*\n?|-.*\n?)+)", text, re.M)
    if not block:
        raise AnnotationsInvalid(f"{where}: no `names`")
    rows = [row.split(" #")[0].strip() for row in block.group(1).splitlines() if row.strip()]
    if all(row.startswith("-") for row in rows):
        return tuple(_bare(row.removeprefix("-")) for row in rows)
    return _in_order(rows, where)


def _in_order(rows: list[str], where: str) -> tuple[str, ...]:
    """Names of a map from numbers, which need not be sorted."""
    try:
        numbered = {int(number): _bare(name) for number, name in (r.split(":", 1) for r in rows)}
    except ValueError as error:
        raise AnnotationsInvalid(f"{where}: `names` is neither a list nor numbered") from error
    if sorted(numbered) != list(range(len(rows))):
        raise AnnotationsInvalid(f"{where}: `names` must be numbered from 0 without a gap")
    return tuple(numbered[number] for number in range(len(rows)))


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8-sig", errors="replace")  # some tools write a mark


def _bare(text: str) -> str:
    return text.strip().strip("'\"")
