"""Names of classes: what is one name, and what is none."""

from __future__ import annotations

import re
import unicodedata

import pytest

from curation.kernel.class_names import clean_class_name, wrong_class_name


@pytest.mark.parametrize(
    "name",
    [
        "car",
        "van, small",
        "می‌روم",  # Persian with a zero-width non-joiner
        "ക്‍",  # Malayalam: the joiner at the end chooses the letter
        "👩‍🚒",
        "שלום\u200fabc",
        "巴士",
        "0: car",
        "x" * 120,
    ],
)
def test_scripts_keep_their_letters(name: str) -> None:
    assert wrong_class_name(name) is None
    assert clean_class_name(name) == name


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "empty"),
        (" \u00a0\u3000", "empty"),
        ("\u200d", "empty"),
        ("background", "no object"),
        (" background\ufeff", "no object"),
        ("x" * 121, "longer than 120"),
        ("red\x1b[31m", "U\\+001B"),
        ("a\tb", "control"),
        ("a\nb", "control"),
        ("a\x85b", "control"),
        ("a\u2028b", "line break"),
        ("car\u202egnp", "text direction"),
        ("v\ufffdlo", "lost in decoding"),
        ("\ud83d", "half of a character"),
    ],
)
def test_what_is_no_name_is_refused(name: str, word: str) -> None:
    wrong = wrong_class_name(name)
    assert wrong is not None
    assert re.search(word, wrong)
    assert wrong.isprintable()  # it goes to a terminal


def test_one_class_is_one_name_however_it_is_written() -> None:
    forms = [unicodedata.normalize(form, "vélo à moteur") for form in ("NFC", "NFD")]
    forms += [" vélo\u00a0à\u202fmoteur\r\n", "\ufeffvélo à moteur\u200b"]
    assert {clean_class_name(form) for form in forms} == {"vélo à moteur"}
    assert clean_class_name("Car") != clean_class_name("car")
