"""Flags are read as what they say, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from curation.formats.flags import flag
from curation.kernel.errors import AnnotationsInvalid


@pytest.mark.parametrize("value", [1, 1.0, True, "1", " 1 ", "true", "TRUE\n", "Yes"])
def test_what_says_yes(value: Any) -> None:
    assert flag(value, "difficult") is True


@pytest.mark.parametrize("value", [0, 0.0, False, "0", " 0", "false", "No", "", "  ", None])
def test_what_says_no(value: Any) -> None:
    assert flag(value, "difficult") is False


@pytest.mark.parametrize("value", [2, -1, 0.5, float("nan"), "2", "maybe", "1.5", [1], {}])
def test_what_says_neither_is_refused_by_name(value: Any) -> None:
    with pytest.raises(AnnotationsInvalid, match=r"`difficult` is .*: give 0 or 1"):
        flag(value, "difficult")
