"""Which splits are taken, what is left aside, and that it is told."""

from __future__ import annotations

import pytest

from curation.formats.splits import Aside, Purpose, SplitChoice, split_in, split_name
from curation.kernel.errors import AnnotationsInvalid

ALL_THREE = {"train", "val", "test"}


@pytest.mark.parametrize(
    ("available", "purpose", "taken"),
    [
        (ALL_THREE, "train", {"train"}),
        (ALL_THREE, "evaluate", {"test"}),
        (ALL_THREE, "everything", None),
        ({"train", "valid"}, "evaluate", {"val"}),
        ({"trainval", "test"}, "train", {"trainval"}),
        ({"train", "val", "trainval"}, "train", {"train"}),
        ({"train", "night", "val"}, "train", {"train", "night"}),
        ({"default"}, "train", None),
        ({"train"}, "evaluate", None),
        (set(), "ask", None),
    ],
)
def test_the_purpose_chooses(available: set[str], purpose: Purpose, taken: set[str] | None) -> None:
    assert SplitChoice(purpose=purpose).among(available).splits == taken


@pytest.mark.parametrize(
    ("available", "choice", "why"),
    [
        (ALL_THREE, SplitChoice(purpose="ask"), "has the splits test, train, val: say which"),
        ({"a", "b"}, SplitChoice(purpose="evaluate"), "say which one evaluates"),
        ({"val", "test"}, SplitChoice(purpose="train"), "say which"),
        (ALL_THREE, SplitChoice(("night",)), "no split night: its splits are test, train, val"),
        (set(), SplitChoice(("train",)), "no split train: it has none"),
    ],
)
def test_a_guess_is_refused(available: set[str], choice: SplitChoice, why: str) -> None:
    with pytest.raises(AnnotationsInvalid, match=why):
        choice.among(available)


def test_what_is_named_is_taken_under_any_of_its_names() -> None:
    assert SplitChoice(("validation",)).among(ALL_THREE).splits == {"val"}
    assert SplitChoice(("all",)).among(ALL_THREE).splits is None
    assert split_name("train2017") == "train"


def test_images_are_counted_by_where_they_were_left() -> None:
    aside = Aside(SplitChoice(purpose="train").among(ALL_THREE))

    taken = [aside.takes(splits) for splits in (["train"], ["val"], ["test"], ["test"], [])]

    assert taken == [True, False, False, False, False]
    (note,) = aside.notes()
    assert "1 images in no split, 2 images of split test, 1 images of split val" in note


def test_an_image_that_is_trained_on_and_held_out_is_left_aside() -> None:
    aside = Aside(SplitChoice(purpose="train").among(ALL_THREE))

    assert not aside.takes(["train", "test"])
    assert "1 of these are listed in a split that was taken, too" in " ".join(aside.notes())


def test_trainval_is_not_apart_from_train() -> None:
    taken = SplitChoice(("train",)).among({"train", "val", "trainval"})

    assert taken.has({"train", "trainval"})
    assert not taken.has({"val", "trainval"})


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("instances_train2017", "train"),
        ("instances_val", "val"),
        ("valid", "val"),
        ("car_trainval", "trainval"),
        ("train_annotations", "train"),
        ("instances_default", ""),
        ("latest", ""),
        ("attest", ""),
    ],
)
def test_a_name_tells_its_split(text: str, split: str) -> None:
    assert split_in(text) == split
