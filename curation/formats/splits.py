"""Which split of a data set is read: what is held out there must not be trained on here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from curation.kernel.errors import AnnotationsInvalid

Purpose: TypeAlias = Literal["train", "evaluate", "everything", "ask"]
ALL = "all"
TRAIN, VAL, TEST, TRAINVAL = "train", "val", "test", "trainval"
HELD_OUT = (VAL, TEST)
SAME = {
    "training": TRAIN,
    "valid": VAL,
    "validation": VAL,
    "dev": VAL,
    "testing": TEST,
    "subset": "default",
}
"""Other names of splits."""
_YEAR = re.compile(r"(?<=[a-z])[-_]?\d{4}$")


def split_name(text: str) -> str:
    """The usual name of a split: ``valid`` is ``val``, and ``train2017`` is ``train``."""
    plain = _YEAR.sub("", text.strip().casefold())
    return SAME.get(plain, plain)


def split_in(text: str) -> str:
    """The split that the name of a file or folder tells, such as ``instances_val2017``; else ""."""
    for part in (text, *reversed(re.split(r"[-_. ]", text))):
        if (name := split_name(part)) in (TRAIN, VAL, TEST, TRAINVAL):
            return name
    return ""


def rest_of(available: Collection[str]) -> str:
    """The split of images that are in none, where only held-out ones are marked: to train on.

    Else "". Without it a set that only names its test images would be trained on whole.
    """
    return TRAIN if available and set(available) <= set(HELD_OUT) else ""


@dataclass(frozen=True, slots=True)
class SplitChoice:
    """Which splits a person asked for, or what the images are for.

    Attributes:
        named: as asked for; ``all`` takes every image, split or not. Empty: the purpose decides.
        purpose: ``train`` leaves held-out splits aside; ``evaluate`` takes ``test``, or ``val``
            where there is no such; ``everything`` takes all; ``ask`` wants them named.
    """

    named: tuple[str, ...] = ()
    purpose: Purpose = "everything"

    def among(self, available: Collection[str]) -> Taken:
        """What is taken of a set that has these splits; none means all of it.

        Args:
            available: names as :func:`split_name` gives them.

        Raises:
            AnnotationsInvalid: a named split is not there, or one must be named.
        """
        there = {split_name(name) for name in available}
        listed = ", ".join(sorted(there))
        if self.named:
            if ALL in self.named:
                return Taken(None)
            asked = {split_name(name) for name in self.named}
            if unknown := asked - there:
                told = f"its splits are {listed}" if there else "it has none"
                raise AnnotationsInvalid(f"no split {', '.join(sorted(unknown))}: {told}")
            return Taken(frozenset(asked), frozenset(there - asked - _containing(asked)))
        if len(there) <= 1 or self.purpose == "everything":
            return Taken(None)
        if self.purpose == "ask":
            raise AnnotationsInvalid(f"it has the splits {listed}: say which, `--split {TRAIN}`")
        return self._by_purpose(there, listed)

    def _by_purpose(self, there: set[str], listed: str) -> Taken:
        held_out = {name for name in there if name in HELD_OUT}
        if self.purpose == "evaluate":
            if not held_out:
                raise AnnotationsInvalid(
                    f"its splits are {listed}: say which one evaluates, `--split NAME`"
                )
            chosen = {TEST if TEST in held_out else VAL}
        else:
            chosen = there - held_out
            if VAL in there and TRAIN in there:
                chosen -= {TRAINVAL}  # it holds the images of val
        if not chosen:
            raise AnnotationsInvalid(f"its splits are {listed}: say which, `--split NAME`")
        return Taken(frozenset(chosen), frozenset(there - chosen - _containing(chosen)))


def _containing(chosen: Collection[str]) -> set[str]:
    """Splits that hold a chosen one by their definition, and so are not apart from it."""
    return {TRAINVAL} if {TRAIN, VAL} & set(chosen) else set()


@dataclass(frozen=True, slots=True)
class Taken:
    """The splits whose images are taken.

    Attributes:
        splits: their names; None: every image, in a split or in none.
        aside: names of splits that are apart from these.
    """

    splits: frozenset[str] | None
    aside: frozenset[str] = frozenset()

    def has(self, of_image: Collection[str]) -> bool:
        """Whether an image in these splits is taken; in a split that is left aside it is not."""
        if self.splits is None:
            return True
        return bool(self.splits & set(of_image)) and not (self.aside & set(of_image))


@dataclass(slots=True)
class Aside:
    """Counts the images that are left aside.

    Attributes:
        images: by split, "" for those that are in none.
        both: images that a taken split lists as well.
    """

    taken: Taken
    images: Counter[str] = field(default_factory=Counter)
    both: int = 0

    def takes(self, of_image: Iterable[str]) -> bool:
        """Whether an image is taken; it is counted if not."""
        splits = {split_name(name) for name in of_image}
        if self.taken.has(splits):
            return True
        apart = splits & self.taken.aside or splits or {""}
        self.both += bool(splits & (self.taken.splits or frozenset()))
        self.images.update(sorted(apart)[:1])
        return False

    def notes(self) -> tuple[str, ...]:
        """What a person should know of it, if anything was left aside."""
        if not self.images:
            return ()
        told = [f"left aside: {_listed(self.images)}; `--split` chooses"]
        if self.both:
            told.append(f"{self.both} of these are listed in a split that was taken, too")
        return tuple(told)


def _listed(images: Mapping[str, int]) -> str:
    return ", ".join(
        f"{count} images of split {name}" if name else f"{count} images in no split"
        for name, count in sorted(images.items())
    )
