"""Modes keep their identity over cycles: one-to-one, by places and by likeness, in any order."""

from __future__ import annotations

import itertools
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.kernel.types import FailureKind, FloatArray
from curation.modes import FailureEvidence, ModeRules, cluster
from curation.modes.history import MatchRules, ModeTrace, match, name_of, similarity

WIDTH = 8
PLACES = [f"p{number}" for number in range(6)]


def unit(vectors: FloatArray) -> FloatArray:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(norms, 1e-12)).astype(np.float32)


def trace(
    key: str,
    cause: int,
    places: tuple[str, ...] = (),
    family: str = "missed",
    label: int = 1,
    object_at: int = WIDTH - 1,
) -> ModeTrace:
    """A mode that one cause hurts, and that misses one kind of object."""
    axes = np.eye(WIDTH, dtype=np.float32)
    weights = np.ones(1, np.float32)
    return ModeTrace(key, family, label, frozenset(places), axes[[cause]], weights, axes[object_at])


@st.composite
def traces(draw: st.DrawFn, prefix: str) -> list[ModeTrace]:
    """Up to six modes of two classes and two families; places and vectors repeat."""
    found = []
    for number in range(draw(st.integers(0, 6))):
        rng = np.random.default_rng(draw(st.integers(0, 5)))
        regions = draw(st.integers(0, 2))
        found.append(
            ModeTrace(
                f"{prefix}{number}",
                draw(st.sampled_from(["missed", "false"])),
                draw(st.integers(1, 2)),
                frozenset(draw(st.lists(st.sampled_from(PLACES), max_size=4))),
                unit(rng.normal(size=(regions, WIDTH))),
                np.full(regions, 1 / max(1, regions), np.float32),
                unit(rng.normal(size=WIDTH)) if draw(st.booleans()) else np.zeros(0, np.float32),
            )
        )
    return found


@given(traces("n"), traces("k"), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_pairs_are_one_to_one_admissible_and_free_of_order(
    now: list[ModeTrace], known: list[ModeTrace], random: Random
) -> None:
    rules = MatchRules()
    pairs = match(now, known, unit, rules)
    assert len(set(pairs.values())) == len(pairs)
    by_key = {item.key: item for item in [*now, *known]}
    for first, second in ((by_key[a], by_key[b]) for a, b in pairs.items()):
        assert (first.family, first.label) == (second.family, second.label)
        alike = similarity(first, second, unit, rules.object_weight)
        least = max(1, min(len(first.places), len(second.places)))
        shared = len(first.places & second.places) / least
        assert alike >= rules.min_similarity or shared >= rules.min_shared
    shuffled, others = list(now), list(known)
    random.shuffle(shuffled)
    random.shuffle(others)
    assert match(shuffled, others, unit, rules) == pairs


@given(traces("n"), traces("k"))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_total_is_the_greatest_that_any_pairing_has(
    now: list[ModeTrace], known: list[ModeTrace]
) -> None:
    now, known = now[:4], known[:4]
    rules = MatchRules()

    def worth(pairs: dict[str, str]) -> float:
        return sum(2 + worths[pair] for pair in pairs.items())

    worths = {}
    for first, second in itertools.product(now, known):
        alone = match([first], [second], unit, rules)
        if alone:
            alike = similarity(first, second, unit, rules.object_weight)
            least = max(1, min(len(first.places), len(second.places)))
            shared = len(first.places & second.places) / least
            value = shared if np.isnan(alike) else (alike + shared) / 2
            worths[first.key, second.key] = value
    best = 0.0
    for chosen in itertools.permutations([*known, *([None] * len(now))], len(now)):
        total = sum(
            2 + worths[first.key, second.key]
            for first, second in zip(now, chosen, strict=True)
            if second is not None and (first.key, second.key) in worths
        )
        best = max(best, total)
    assert worth(match(now, known, unit, rules)) == pytest.approx(best, abs=1e-4)


@given(traces("n"))
@settings(deadline=None, derandomize=True)
def test_a_mode_is_known_again_as_itself(found: list[ModeTrace]) -> None:
    told_apart = [item for item in found if item.object_vector.size or item.places]
    pairs = match(found, found, unit)
    assert len(pairs) == len(told_apart)


def test_likeness_finds_a_mode_of_which_no_failure_is_left() -> None:
    known = [trace("rain", 0, ("p1",)), trace("night", 1, ("p2",))]
    now = [trace("x", 1, ("p8",)), trace("y", 2, ("p9",), object_at=3)]
    assert match(now, known, unit) == {"x": "night"}


def test_shared_places_find_a_mode_whose_explanations_changed() -> None:
    known = [trace("rain", 0, ("p1", "p2", "p3"), object_at=3)]
    now = [trace("x", 1, ("p2", "p3", "p7")), trace("y", 2, ("p9",))]
    assert match(now, known, unit) == {"x": "rain"}


def test_of_a_split_mode_the_part_with_more_of_it_keeps_the_identity() -> None:
    known = [trace("rain", 0, ("p1", "p2", "p3", "p4", "p5"))]
    now = [trace("small", 0, ("p6", "p5")), trace("large", 0, ("p1", "p2", "p3", "p4"))]
    assert match(now, known, unit) == {"large": "rain"}


def test_classes_and_families_are_kept_apart_even_at_one_place() -> None:
    known = [trace("rain", 0, ("p1",))]
    assert match([trace("x", 0, ("p1",), label=2)], known, unit) == {}
    assert match([trace("x", 0, ("p1",), family="false")], known, unit) == {}


def test_after_a_change_of_the_encoder_places_alone_decide() -> None:
    bare = np.zeros(0, np.float32)
    old = ModeTrace("rain", "missed", 1, frozenset({"p1", "p2"}), bare[None][:0], bare, bare)
    now = [trace("x", 0, ("p1", "p9")), trace("y", 0, ("p3",))]
    assert match(now, [old], unit) == {"x": "rain"}
    wider = ModeTrace("w", "missed", 1, frozenset(), bare[None][:0], bare, np.ones(99, np.float32))
    assert np.isnan(similarity(now[0], wider, unit, 0.5))
    assert match(now, [], unit) == match([], [old], unit) == {}


def test_halves_of_one_cause_are_one_mode_and_of_two_are_not() -> None:
    """As after a promotion: other failures of the same causes, each explained with noise."""
    rng = np.random.default_rng(3)
    axes = np.eye(24)

    def failures(prefix: str) -> list[FailureEvidence]:
        return [
            FailureEvidence(
                f"{prefix}{cause}-{number}",
                FailureKind.FALSE_NEGATIVE,
                1,
                unit(np.stack([axes[cause] + 0.15 * rng.normal(size=24), rng.normal(size=24)])),
                np.array([0.7, 0.3], np.float32),
                unit(axes[23 - cause] + 0.15 * rng.normal(size=24)),
                np.zeros(4, np.float32),
            )
            for cause in range(3)
            for number in range(5)
        ]

    def traced(prefix: str) -> list[ModeTrace]:
        evidence = failures(prefix)
        places = {item.failure: item.failure for item in evidence}
        return [ModeTrace.of(m, places) for m in cluster(evidence, rules=ModeRules(0.7))]

    first, second = traced("a"), traced("b")
    pairs = match(second, first, unit)
    assert len(first) == len(second) == len(pairs) == 3
    causes = {
        item.key: {place.removeprefix("a").removeprefix("b")[0] for place in item.places}
        for item in [*first, *second]
    }
    assert all(causes[now] == causes[then] for now, then in pairs.items())


def test_names_say_what_and_which() -> None:
    assert name_of("missed", "car", 2) == "missed car 2"
    assert name_of("false", "traffic light", 1) == "false traffic light 1"
