"""Frames are dealt by group, for good, and so that a mode has teachers and judges."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.modes.dealing import Side, deal

GROUPS = st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 9), min_size=1, max_size=8)
MODES = st.dictionaries(st.text(max_size=3), GROUPS, max_size=6)
SHARES = st.floats(0.05, 0.95)


def _grown(modes: Mapping[str, Mapping[str, int]], more: Mapping[str, Mapping[str, int]]) -> dict:  # type: ignore[type-arg]
    return {key: {**more.get(key, {}), **modes.get(key, {})} for key in {*modes, *more}}


@given(MODES, MODES, SHARES, st.booleans())
def test_what_is_dealt_stays_when_frames_are_added(
    modes: dict[str, dict[str, int]], more: dict[str, dict[str, int]], share: float, lone: bool
) -> None:
    first = deal(modes, {}, share, lone)
    assert set(first) == {group for groups in modes.values() for group in groups}
    later = deal(_grown(modes, more), first, share, lone)
    assert {group: later[group] for group in first} == first


@given(MODES, SHARES)
def test_the_order_of_modes_and_groups_does_not_matter(
    modes: dict[str, dict[str, int]], share: float
) -> None:
    turned = {key: dict(reversed(own.items())) for key, own in reversed(modes.items())}
    renamed = {f"again {key}": own for key, own in turned.items()}
    assert deal(renamed, {}, share) == deal(modes, {}, share)


@given(GROUPS, SHARES)
def test_a_mode_of_several_groups_has_both_sides(groups: dict[str, int], share: float) -> None:
    sides = set(deal({"mode": groups}, {}, share).values())
    assert sides == (set(Side) if len(groups) > 1 else {Side.JUDGE})


@given(GROUPS, SHARES)
def test_the_share_is_kept_to_within_a_group(groups: dict[str, int], share: float) -> None:
    sides = deal({"mode": groups}, {}, share)
    teach = sum(frames for group, frames in groups.items() if sides[group] is Side.PARENT)
    assert abs(teach - share * sum(groups.values())) <= max(groups.values())


@pytest.mark.parametrize("lone", [True, False])
def test_a_lone_group_teaches_only_where_others_judge(lone: bool) -> None:
    assert deal({"mode": {"drive": 3}}, {}, 0.5, lone)["drive"] is (
        Side.PARENT if lone else Side.JUDGE
    )


@pytest.mark.parametrize("first", list(Side))
def test_the_second_group_of_a_mode_takes_the_other_side(first: Side) -> None:
    sides = deal({"mode": {"one": 1, "two": 5}}, {"one": first}, 0.5)
    assert sides["two"] is not first


def test_nothing_is_dealt_where_none_shall_teach() -> None:
    known = {"old": Side.PARENT, "elsewhere": Side.JUDGE}
    assert deal({"mode": {"old": 1, "new": 1}}, known, 0) == {"old": Side.PARENT}


def test_all_teach_where_all_shall() -> None:
    modes = {"mode": {"a": 1, "b": 2}, "lone": {"c": 1}}
    assert set(deal(modes, {}, 1).values()) == {Side.PARENT}


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_of_0_and_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        deal({}, {}, share)


def test_a_group_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        deal({"mode": {"drive": 0}}, {}, 0.5)
