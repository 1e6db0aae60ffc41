"""Lists of classes: the one reader of them, at every door that a list comes through.

A list gives each class its number, from 0. A number that no class has stays in the list, so that
those behind it keep theirs. What a file is, is found from its content:

- text, one name a line; an empty line is a number that is not used, unless no name follows
  (labelImg, darknet);
- text in which every line begins with its number, ``0: car`` or ``0<tab>car``;
- YAML, such as ``data.yaml``: ``names`` as a list or as a map, or the list or map alone;
- JSON: a list, a map from numbers or to numbers, ``names``, or COCO's ``categories``.

``class_list_documents.py`` reads YAML and JSON.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from curation.formats import class_list_documents as documents
from curation.formats.text_files import decode, decode_json, read_bytes
from curation.kernel.class_names import BACKGROUND, clean_class_name, wrong_class_name
from curation.kernel.errors import AnnotationsInvalid

MAX_BYTES = 1024**2
MAX_CLASSES = 65_536
"""More than any data set has; a single line ``999999999: car`` must not fill the memory."""
UNUSED = ("", "N/A")
"""How lists name the numbers that no class has; COCO's are N/A in torchvision's."""
BREAK = re.compile(r"\r\n|\n|\r")
"""Ends a line; not the dozen characters that Python takes for a break too."""

_NUMBERED = re.compile(r"\s*([0-9]{1,9})\s*(?::|=|;|\t)\s*(.*)")
_SPACED = re.compile(r"\s*([0-9]{1,9})\s+(\S.*)")
_FOREIGN = (
    (re.compile(r"\s*item\s*\{"), "a label map of TensorFlow"),
    (re.compile(r"\s*(names|train|valid|classes)\s*="), "darknet's data file, not its names"),
    (re.compile(r"\s*<"), "XML"),
    (re.compile(r"\s*#(\s|$)"), "a comment, which a plain list cannot have"),
)


@dataclass(frozen=True, slots=True)
class ClassList:
    """Classes by number.

    Attributes:
        names: the name of number 0, of number 1 and so on; None where a number is not used. No
            name appears twice, all are clean (see ``class_names.py``). Whether ``background`` is a
            class here or what is no object, the caller knows.
    """

    names: tuple[str | None, ...]

    @property
    def used(self) -> tuple[str, ...]:
        """The names alone, by number."""
        return tuple(name for name in self.names if name is not None)

    def name_of(self, number: int) -> str | None:
        """The class of a number; None where it has none."""
        return self.names[number] if 0 <= number < len(self.names) else None


def read_class_list(path: Path) -> ClassList:
    """The classes that a file lists; which form it has is found from what is in it.

    Raises:
        AnnotationsInvalid: missing, too large, not in UTF-8 (or in UTF-16 with its mark), in no
            form that is read, without a class, or with a name that is refused or appears twice.
    """
    read = decode_json if path.suffix.lower() == ".json" else decode
    return parse_class_list(read(read_bytes(path, MAX_BYTES), path.name), path.name)


def parse_class_list(text: str, where: str) -> ClassList:
    """The classes that a text lists, as ``read_class_list``.

    Args:
        text: of the whole file.
        where: the file's name: its suffix says what it is where the content could be either, and
            messages begin with it.

    Raises:
        AnnotationsInvalid: see ``read_class_list``.
    """
    suffix = Path(where).suffix.lower()
    if suffix == ".json" or (text.lstrip()[:1] in ("{", "[") and documents.is_json(text)):
        return _checked(documents.from_json(text, where), where)
    if suffix in (".yaml", ".yml") or _looks_like_yaml(text):
        return _checked(documents.from_yaml(text, where), where)
    return _from_lines(BREAK.split(text), where)


def class_list(entries: Iterable[tuple[int, str]], where: str) -> ClassList:
    """Numbers and names, in any order, as a list; ``UNUSED`` names stand for no class.

    Raises:
        AnnotationsInvalid: a number appears twice or is too great, or a name is refused or appears
            twice, or there is none.
    """
    names: dict[int, str | None] = {}
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, written in entries:
        if number >= MAX_CLASSES:
            raise AnnotationsInvalid(f"{where}: class number {number} is above {MAX_CLASSES - 1}")
        if number in names:
            raise AnnotationsInvalid(f"{where}: number {number} has two names; give it one")
        name = clean_class_name(written)
        names[number] = None if name in UNUSED else name
        if name in UNUSED:
            continue
        if name != BACKGROUND and (wrong := wrong_class_name(name)):
            raise AnnotationsInvalid(f"{where}, number {number}: {wrong}")
        numbers[name].append(number)
    for name, same in numbers.items():
        if len(same) > 1:
            listed = ", ".join(map(str, sorted(same)))
            raise AnnotationsInvalid(
                f"{where}: a name appears twice: {name!r} has the numbers {listed}, counted from "
                "0; give each class a name of its own"
            )
    if not numbers:
        raise AnnotationsInvalid(f"{where}: no class in it; write one name a line")
    return ClassList(tuple(names.get(number) for number in range(max(names) + 1)))


def _checked(listed: documents.Listed, where: str) -> ClassList:
    """The list, if it has as many classes as it says: with its unused numbers or without."""
    found = class_list(listed.entries, where)
    if listed.count is None:
        return found
    if listed.count not in (str(len(found.names)), str(len(found.used))):
        raise AnnotationsInvalid(
            f"{where}: `nc` says {listed.count[:40]} classes, but `names` has {len(found.used)}; "
            "mend the one that is wrong"
        )
    return found


def _looks_like_yaml(text: str) -> bool:
    """Whether a file with another suffix is YAML: a key of data.yaml, or a list with dashes."""
    if text.lstrip()[:1] in ("{", "["):
        return True
    if re.search(r"^(names|nc|train|val|path)[ \t]*:(\s|$)", text, re.M):
        return True
    lines = [line for line in BREAK.split(text) if line.strip()]
    return bool(lines) and all(re.match(r"\s*-\s", line) for line in lines)


def _from_lines(lines: list[str], where: str) -> ClassList:
    """One name a line; where all lines begin with a number, it is the class's."""
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    written = [(place, line) for place, line in enumerate(lines) if line.strip()]
    for place, line in written:
        for pattern, what in _FOREIGN:
            if pattern.match(line):
                raise AnnotationsInvalid(
                    f"{where}, line {place + 1}: this is {what}; write one name a line"
                )
    numbered = [match for _, line in written if (match := _NUMBERED.fullmatch(line))]
    if numbered and len(numbered) == len(written):
        return class_list(((int(one[1]), one[2]) for one in numbered), where)
    if numbered:
        odd = next(place for place, line in written if not _NUMBERED.fullmatch(line))
        raise AnnotationsInvalid(
            f"{where}, line {odd + 1}: no number before the name, as others have it "
            f"({numbered[0][0].strip()!r}); number all of them or none"
        )
    if counted := _counted(written):
        return class_list(counted, where)
    _refuse_commas([line for _, line in written], where)
    return class_list(enumerate(lines), where)


def _counted(written: list[tuple[int, str]]) -> list[tuple[int, str]] | None:
    """``1 car``, ``2 bus``: numbers that count up without a gap; a single line may be a name."""
    matches = [_SPACED.fullmatch(line) for _, line in written]
    found = [(int(one[1]), one[2]) for one in matches if one]
    if len(found) < 2 or len(found) != len(written) or found[0][0] > 1:
        return None
    rising = all(number == found[0][0] + step for step, (number, _) in enumerate(found))
    return found if rising else None


def _refuse_commas(lines: list[str], where: str) -> None:
    """A table, or a list on one line; a name with a comma has others beside it that have none."""
    if len(lines) == 1 and "," in lines[0]:
        raise AnnotationsInvalid(
            f"{where}: one line with commas; write one name a line (or, for a single class with a "
            "comma in its name, YAML)"
        )
    if len(lines) > 1 and all(re.search(r",\s*-?[0-9]+\s*$", line) for line in lines):
        raise AnnotationsInvalid(
            f"{where}: every line ends in a comma and a number; write one name a line, in the "
            "order of the numbers, or `number: name`"
        )
