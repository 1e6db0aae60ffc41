"""Descriptions of a YOLO data set: data.yaml and darknet's obj.data, and where they lead.

They name folders and lists as these lay on another computer. What they name is looked for inside
what a person named, and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from curation.formats.class_lists import BREAK, MAX_BYTES
from curation.formats.names import is_elsewhere
from curation.formats.splits import split_in, split_name
from curation.formats.text_files import decode, read_bytes
from curation.formats.tree import Tree
from curation.formats.yolo_names import is_class_list
from curation.kernel.errors import AnnotationsInvalid

_YAML, _DATA = (".yaml", ".yml"), ".data"
_SPLITS = ("train", "val", "valid", "validation", "test")
_NOTHING = ("", "~", "null", "none")
_DRIVE = re.compile(r"^[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Description:
    """What a description says.

    Attributes:
        file: the description.
        splits: by their usual names, what each is made of, as written: folders and lists.
        base: ``path`` of a data.yaml, as written; "" where there is none.
        key_points: numbers of all key points of an object; 0 where it has none.
    """

    file: Path
    splits: dict[str, tuple[str, ...]] = field(default_factory=dict)
    base: str = ""
    key_points: int = 0


def is_description(file: Path) -> bool:
    """Whether a file describes a YOLO data set, as data.yaml and obj.data do, by its suffix."""
    return file.suffix.lower() in (*_YAML, _DATA)


def descriptions(tree: Tree, chosen: Path | None = None) -> list[Description]:
    """What describes a data set: the file that was named, or all that lie in it."""
    if chosen is not None:
        return [read_description(chosen)]
    return [
        read_description(path)
        for path in tree.with_suffix(*_YAML, _DATA)
        if path.suffix.lower() == _DATA or is_class_list(path)
    ]


def read_description(file: Path) -> Description:
    """What a data.yaml or obj.data says of splits.

    Raises:
        AnnotationsInvalid: it cannot be read.
    """
    text = decode(read_bytes(file, MAX_BYTES), file.name)
    said = _of_yaml(text, file.name) if file.suffix.lower() in _YAML else _of_data(text)
    splits: dict[str, tuple[str, ...]] = {}
    for key in _SPLITS:
        if parts := tuple(one for one in said.get(key, ()) if one.lower() not in _NOTHING):
            splits[split_name(key)] = (*splits.get(split_name(key), ()), *parts)
    shape = [int(one) for one in said.get("kpt_shape", ()) if re.fullmatch("[0-9]{1,3}", one)]
    key_points = shape[0] * shape[1] if len(shape) == 2 else 0
    return Description(file, splits, next(iter(said.get("path", ())), ""), key_points)


def _of_yaml(text: str, where: str) -> dict[str, tuple[str, ...]]:
    """Texts of the top keys; nothing is constructed, see ``class_list_documents.py``."""
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise AnnotationsInvalid(f"{where}: not YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(root, yaml.MappingNode):
        return {}
    return {
        key.value: tuple(_texts(value))
        for key, value in root.value
        if isinstance(key, yaml.ScalarNode)
    }


def _texts(node: yaml.Node) -> Iterator[str]:
    entries = node.value if isinstance(node, yaml.SequenceNode) else [node]
    yield from (str(one.value).strip() for one in entries if isinstance(one, yaml.ScalarNode))


def _of_data(text: str) -> dict[str, tuple[str, ...]]:
    lines = (line.partition("=") for line in BREAK.split(text) if not line.lstrip().startswith("#"))
    return {key.strip(): (value.strip(),) for key, sign, value in lines if sign}


def resolve(text: str, bases: Sequence[Path]) -> Path | None:
    """The folder or file inside the set that a description means; None where there is none.

    ``../`` and the folders of another computer are dropped, as far as no split is dropped with
    them: Roboflow writes ``../train/images`` where ``train/images`` lies beside the file.

    Args:
        text: as written.
        bases: folders that it may start from, the likeliest first.
    """
    parts = _parts(text)
    if not parts:
        return bases[0]
    for first in range(len(parts)):
        if any(split_in(part) for part in parts[:first]):
            return None
        for base in bases:
            found = base.joinpath(*parts[first:])
            try:
                if found.is_dir() or found.is_file():
                    return found
            except OSError:  # a name too long
                continue
    return next((base for base in bases if base.resolve().name == parts[-1]), None)


def bases_of(description: Description, root: Path) -> list[Path]:
    """The folders inside the set that what a description names may start from."""
    bases = [description.file.parent, root]
    if description.base and not is_elsewhere(description.base):
        bases.insert(0, description.file.parent.joinpath(*_parts(description.base)))
    return bases


def note_on_base(description: Description, root: Path) -> str:
    """That ``path`` leads out of what was named, where it does; else ""."""
    base = description.base
    if not base or base == ".":
        return ""
    try:
        leads = (description.file.parent / base).resolve()
        inside = leads.is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):
        inside = False
    if inside or _parts(base)[-1:] == [root.resolve().name]:
        return ""
    return (
        f"{description.file.name}: its `path` ({base[:80]}) is not inside of what was named and "
        "was not followed: what lies here was read"
    )


def _parts(text: str) -> list[str]:
    """Folders and name, without a drive and whatever leads out."""
    plain = _DRIVE.sub("", text.replace("\\", "/").split("://")[-1])
    return [part for part in plain.split("/") if part not in ("", ".", "..")]
