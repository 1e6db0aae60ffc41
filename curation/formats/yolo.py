"""YOLO: one text file an image, each line ``class cx cy width height`` in shares of the image."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from curation.boxes import cxcywh_to_xyxy
from curation.errors import AnnotationsInvalid
from curation.formats.base import Imported, ImportedImage, Labels, Problem, image_files

LABEL_FOLDER, IMAGE_FOLDER = "labels", "images"


def labels_folder(source: Path) -> Path | None:
    """The folder with the label files, None where there is none."""
    folder = source / LABEL_FOLDER
    return folder if folder.is_dir() else None


def read(source: Path) -> Imported:
    """Read a YOLO folder: ``images/``, ``labels/`` and ``data.yaml`` or ``classes.txt``.

    Raises:
        AnnotationsInvalid: the class names or the folders are missing.
    """
    labels = labels_folder(source)
    images = source / IMAGE_FOLDER
    if labels is None or not images.is_dir():
        raise AnnotationsInvalid(f"{source.name}: expected folders `images` and `labels`")
    names = _class_names(source)
    problems: list[Problem] = []
    items = []
    used = set()
    for path in image_files(images):
        file = (labels / path.relative_to(images)).with_suffix(".txt")
        used.add(file)
        item = _image(path, file, names, problems)
        if item is not None:
            items.append(item)
    for file in sorted(set(labels.rglob("*.txt")) - used):
        problems.append(Problem(file.name, "left out: there is no image of this name"))
    return Imported(names, tuple(items), tuple(problems))


def _image(
    path: Path, file: Path, names: tuple[str, ...], problems: list[Problem]
) -> ImportedImage | None:
    try:
        with Image.open(path) as picture:
            width, height = picture.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        problems.append(Problem(path.name, f"left out: not a readable image ({error})"))
        return None
    labels = Labels(file.name, (width, height), problems)
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            label, *shares = line.split()[:5]
            name = names[int(label)] if int(label) >= 0 else names[len(names)]
            cx, cy, w, h = (float(share) for share in shares)
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
        box = cxcywh_to_xyxy([[cx * width, cy * height, w * width, h * height]])[0]  # type: ignore[arg-type]
        labels.add(box.tolist(), name, False, place)
    return labels.image(path)


def _class_names(source: Path) -> tuple[str, ...]:
    listed = source / "classes.txt"
    if listed.is_file():
        return tuple(filter(None, map(str.strip, listed.read_text().splitlines())))
    for name in ("data.yaml", "data.yml"):
        if (source / name).is_file():
            return _names_of_yaml((source / name).read_text(), name)
    raise AnnotationsInvalid(f"{source.name}: no classes.txt and no data.yaml with `names`")


def _names_of_yaml(text: str, where: str) -> tuple[str, ...]:
    """``names`` of a data.yaml, as a list or as a map; all that is needed of YAML here."""
    inline = re.search(r"^names:\s*\[(.*?)\]", text, re.M | re.S)
    if inline:
        return tuple(_bare(part) for part in inline.group(1).split(",") if _bare(part))
    block = re.search(r"^names:\s*\n((?:[ \t]+.*\n?|-.*\n?)+)", text, re.M)
    if not block:
        raise AnnotationsInvalid(f"{where}: no `names`")
    rows = [row.strip() for row in block.group(1).splitlines() if row.strip()]
    return tuple(_bare(row.removeprefix("-").split(":", 1)[-1]) for row in rows)


def _bare(text: str) -> str:
    return text.strip().strip("'\"")
