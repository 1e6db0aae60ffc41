"""Lists of classes that are written as YAML or as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from curation.kernel.errors import AnnotationsInvalid

_TEXT_TAG = "tag:yaml.org,2002:str"
_LISTS = (_TEXT_TAG, "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
_NUMBER = re.compile(r"[0-9]{1,9}")
_FORMS = (
    "wanted is a list of names, a map from numbers to names, or one of them (or COCO's "
    "`categories`) under `names`"
)


@dataclass(frozen=True, slots=True)
class Listed:
    """What a document lists.

    Attributes:
        entries: number and name, as they are written; "" where a number is not used.
        count: how many classes there are, as the document says itself.
    """

    entries: list[tuple[int, str]]
    count: str | None


def from_yaml(text: str, where: str) -> Listed:
    """``names`` of a data.yaml, or a list or map alone.

    Values are kept as they are written: ``- no`` is the class "no", where YAML 1.1 has a truth
    value. Nothing is constructed, so that neither tags run code nor aliases unfold.

    Raises:
        AnnotationsInvalid: not YAML, or another form.
    """
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise AnnotationsInvalid(f"{where}{line}: not YAML ({error.problem})") from error
    except (yaml.YAMLError, RecursionError) as error:
        why = str(error).splitlines()[0] if isinstance(error, yaml.YAMLError) else "nested too deep"
        raise AnnotationsInvalid(f"{where}: not YAML ({why})") from error
    names, count = root, None
    if isinstance(root, yaml.MappingNode) and not _all_numbers(root):
        top = _pairs(root, where)
        if "names" not in top:
            raise AnnotationsInvalid(f"{where}: no `names`; {_FORMS}")
        names, count = top["names"], top.get("nc")
    said = None if count is None else _text(count, where).strip()
    return Listed(_entries_of_node(names, where), said)


def is_json(text: str) -> bool:
    """Whether it can be read as JSON; nearly all of JSON is YAML too."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def from_json(text: str, where: str) -> Listed:
    """A list or map of names, alone or as ``names``, or COCO's categories.

    Raises:
        AnnotationsInvalid: not JSON, or another form.
    """
    try:
        root = json.loads(text, object_pairs_hook=_without_twins)
    except json.JSONDecodeError as error:
        raise AnnotationsInvalid(f"{where}, line {error.lineno}: not JSON ({error.msg})") from error
    except _Twice as error:
        raise AnnotationsInvalid(f"{where}: {str(error)!r} appears twice; leave one out") from error
    except (ValueError, RecursionError) as error:
        raise AnnotationsInvalid(f"{where}: not JSON ({error})") from error
    count = None
    if isinstance(root, dict) and ("names" in root or "categories" in root):
        count = None if root.get("nc") is None else str(root["nc"])
        root = root["names"] if "names" in root else root["categories"]
    return Listed(_entries_of_json(root, where), count)


class _Twice(Exception):
    """A key of a JSON object that appears twice."""


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise _Twice(key)
        values[key] = value
    return values


def _entries_of_json(root: Any, where: str) -> list[tuple[int, str]]:
    if isinstance(root, list) and root and all(isinstance(entry, dict) for entry in root):
        pairs = [(str(entry.get("id")), entry.get("name")) for entry in root]
    elif isinstance(root, list):
        pairs = [(str(number), name) for number, name in enumerate(root)]
    elif isinstance(root, dict):
        pairs = list(root.items())
        if pairs and all(type(number) is int for _, number in pairs):
            pairs = [(str(number), name) for name, number in pairs]
    else:
        raise AnnotationsInvalid(f"{where}: no list of classes; {_FORMS}")
    return [_entry(number, "" if name is None else name, where) for number, name in pairs]


def _entries_of_node(node: yaml.Node | None, where: str) -> list[tuple[int, str]]:
    if node is not None and node.tag not in _LISTS:  # such as a call, whose arguments are no names
        raise AnnotationsInvalid(f"{where}: `names` has the tag {node.tag!r}; {_FORMS}")
    if isinstance(node, yaml.SequenceNode):
        return [(number, _text(entry, where)) for number, entry in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        raise AnnotationsInvalid(f"{where}: `names` is no list and no map; {_FORMS}")
    pairs = [(number, _text(name, where)) for number, name in _pairs(node, where).items()]
    if pairs and not _all_numbers(node) and all(_NUMBER.fullmatch(number) for _, number in pairs):
        pairs = [(number, name) for name, number in pairs]
    return [_entry(number, name, where) for number, name in pairs]


def _entry(number: str, name: object, where: str) -> tuple[int, str]:
    if not _NUMBER.fullmatch(number):
        raise AnnotationsInvalid(
            f"{where}: {number[:40]!r} is no number of a class (0, 1, …); {_FORMS}"
        )
    if not isinstance(name, str):
        raise AnnotationsInvalid(
            f"{where}, number {number}: {str(name)[:40]!r} is no text; put the name into quotes"
        )
    return int(number), name


def _all_numbers(node: yaml.MappingNode) -> bool:
    return all(
        isinstance(key, yaml.ScalarNode) and _NUMBER.fullmatch(key.value) for key, _ in node.value
    )


def _pairs(node: yaml.MappingNode, where: str) -> dict[str, yaml.Node]:
    """Keys as text; a key that appears twice would hide a value."""
    pairs: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = _text(key, where)
        if name in pairs:
            line = key.start_mark.line + 1
            raise AnnotationsInvalid(f"{where}, line {line}: {name!r} appears twice; leave one out")
        pairs[name] = value
    return pairs


def _text(node: yaml.Node, where: str) -> str:
    """A scalar as it is written; a plain ``~`` is nothing."""
    if not isinstance(node, yaml.ScalarNode) or node.tag != _TEXT_TAG:
        raise AnnotationsInvalid(
            f"{where}, line {node.start_mark.line + 1}: expected a name; {_FORMS}"
        )
    value: str = node.value
    return "" if value == "~" and node.style is None else value
