"""What a scan does to stored failures: corrected truth, late scans, classes that are not known."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import select

from services import units
from services.db.tables import FailureRow, FailureState, Unit, UnitState
from services.models import registry
from tests.services.field_frames import PHANTOM, Field, blind
from tests.tiny_ssd import tiny_ssd

MISSED = {"kind": "missed", **PHANTOM}


# --- corrected truth


def test_corrected_truth_withdraws_what_followed_from_the_wrong_one(field: Field) -> None:
    field.say(objects=[*field.shown, PHANTOM])
    assert field.scan()[0]["failures"] == 1
    field.explain()
    assert field.states() == [FailureState.EXPLAINED]

    field.say(objects=field.shown)
    (result,) = field.scan()

    assert (result["failures"], result["withdrawn"]) == (0, 1)
    assert field.states() == [FailureState.WITHDRAWN]


def test_what_is_found_again_comes_back(lite: Field) -> None:
    for _ in range(2):
        lite.say(objects=[*lite.shown, PHANTOM])
        lite.scan()
        lite.say(objects=lite.shown)
        lite.scan()
    assert lite.states() == [FailureState.WITHDRAWN]

    lite.say(objects=[*lite.shown, PHANTOM])
    (result,) = lite.scan()

    assert (result["new"], result["returned"]) == (0, 1)
    assert lite.states() == [FailureState.FOUND]
    assert lite.explains() == 3  # each time anew: the work that was asked for first found nothing

    lite.explain()
    lite.say(objects=lite.shown)
    lite.scan()
    lite.say(objects=[*lite.shown, PHANTOM])
    lite.scan()
    assert lite.states() == [FailureState.EXPLAINED]  # it was explained before


def test_the_same_words_again_change_nothing(lite: Field) -> None:
    lite.say(objects=[PHANTOM])
    lite.scan()
    before = [(row.id, row.state) for row in lite.failures()]
    lite.say(objects=[PHANTOM])
    assert lite.scan() == []
    assert [(row.id, row.state) for row in lite.failures()] == before


def test_a_false_detection_that_has_an_object_after_all_is_withdrawn(lite: Field) -> None:
    lite.say(objects=lite.shown[1:])
    lite.scan()
    assert lite.states("false_positive") == [FailureState.FOUND]

    lite.say(objects=lite.shown)
    lite.scan()

    assert lite.states("false_positive") == [FailureState.WITHDRAWN]


def test_what_earlier_models_got_wrong_under_wrong_truth_is_not_fixed(field: Field) -> None:
    """It would be asked of every challenger: find an object that is not there."""
    field.say(objects=[*field.shown[1:], PHANTOM])
    field.scan()
    field.add_model(2, blind())
    field.promote(2)
    field.scan()
    field.say(objects=field.shown)

    field.scan()

    earlier = [row for row in field.failures() if row.model_id == field.first.id]
    assert {row.kind: row.state for row in earlier} == {
        "false_negative": FailureState.WITHDRAWN,
        "false_positive": FailureState.WITHDRAWN,
    }


def test_an_object_that_moved_up_in_the_list_is_the_same_object(lite: Field) -> None:
    lite.say(objects=[{**PHANTOM, "box": [10.0, 400.0, 60.0, 450.0]}, PHANTOM, *lite.shown])
    lite.scan()
    lite.say(objects=[PHANTOM, *lite.shown])
    lite.scan()

    rows = {row.state: row for row in lite.failures() if row.box == PHANTOM["box"]}
    assert rows[FailureState.FOUND].place == rows[FailureState.WITHDRAWN].id
    assert rows[FailureState.FOUND].truth_index == 0


def test_words_that_came_in_while_the_frame_was_looked_at_count(
    lite: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    lite.say(objects=[*lite.shown, PHANTOM])
    look = type(tiny_ssd()).look

    def correct_meanwhile(*arguments: object) -> object:
        monkeypatch.undo()
        lite.say(objects=lite.shown)
        return look(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(type(tiny_ssd()), "look", correct_meanwhile)
    lite.scan()
    assert lite.states() == []


# --- late scans


def test_a_late_scan_of_an_earlier_model_leaves_the_champions_failures_alone(
    field: Field,
) -> None:
    field.say(objects=field.shown)
    second = field.add_model(2, blind())
    field.promote(2)
    assert field.scan(second)[0]["failures"] == len(field.shown)
    with field.context.sessions.begin() as session:  # a worker had it as the other was promoted
        withdrawn = session.scalars(select(Unit).where(Unit.state == UnitState.CANCELLED)).one()
        units.redrive(session, withdrawn.id)

    (late,) = field.scan(field.first)

    assert (late["failures"], late["fixed"]) == (0, 0)
    assert set(field.states()) == {FailureState.FOUND}
    assert all(row.fixed_by is None for row in field.failures())


def test_the_champion_settles_what_earlier_models_got_wrong(lite: Field) -> None:
    lite.say(objects=[PHANTOM])
    lite.scan()
    second = lite.add_model(2, blind())
    lite.promote(2)

    (result,) = lite.scan()

    assert result["fixed"] == len(lite.shown)  # a blind model shows nothing that is not there
    first = [row for row in lite.failures() if row.model_id == lite.first.id]
    assert {row.state for row in first if row.kind == "false_positive"} == {FailureState.FIXED}
    assert {row.fixed_by for row in first} == {None, second.id}
    assert [row.state for row in first if row.kind == "false_negative"] == [FailureState.FOUND]


def test_what_was_fixed_is_so_again_when_its_truth_is_put_back(lite: Field) -> None:
    lite.say(objects=[])
    lite.scan()
    lite.add_model(2, blind())
    lite.promote(2)
    lite.scan()
    phantoms = len(lite.shown)
    assert lite.states("false_positive") == [FailureState.FIXED] * phantoms

    lite.say(objects=lite.shown)  # a slip: what was shown falsely is there after all
    lite.scan()
    assert lite.states("false_positive") == [FailureState.WITHDRAWN] * phantoms

    lite.say(objects=[])
    (result,) = lite.scan()
    assert result["fixed"] == phantoms
    assert lite.states("false_positive") == [FailureState.FIXED] * phantoms


@pytest.mark.parametrize("explained", [False, True])
def test_a_champion_that_came_back_opens_what_another_had_fixed(
    lite: Field, explained: bool
) -> None:
    lite.say(objects=[*lite.shown, PHANTOM])
    lite.scan()
    if explained:
        lite.explain()
    with lite.context.sessions.begin() as session:
        row = session.scalars(select(FailureRow)).one()
        row.state, row.fixed_by = FailureState.FIXED, row.model_id
    lite.say(objects=[PHANTOM, *lite.shown])  # the same in another order

    (result,) = lite.scan()

    assert result["reopened"] == 1
    known = FailureState.EXPLAINED if explained else FailureState.FOUND
    assert {(row.state, row.fixed_by) for row in lite.failures()} == {
        (known, None),
        (FailureState.FOUND, None),
    }
    assert lite.explains() > 0


def test_failures_that_were_fixed_before_they_were_explained_are_explained_in_the_end(
    lite: Field,
) -> None:
    lite.say(objects=[*lite.shown, PHANTOM])
    lite.scan()
    assert lite.explains() == 1
    second = lite.add_model(2, blind())
    with lite.context.sessions.begin() as session:  # before a worker came to explain it
        row = session.scalars(select(FailureRow)).one()
        row.state, row.fixed_by = FailureState.FIXED, second.id
        session.scalars(select(Unit).where(Unit.kind == "explain")).one().state = UnitState.DONE
        registry.promote(session, second, "person", {})
        registry.rollback(session, "person")
        assert row.state == FailureState.FOUND

    lite.scan()

    assert lite.states() == [FailureState.FOUND]
    assert lite.explains() == 1


# --- classes that the model does not know


def test_a_report_of_a_class_that_the_model_does_not_know_waits_for_one_that_does(
    lite: Field, caplog: pytest.LogCaptureFixture
) -> None:
    lite.add_class("parasite")
    lite.say(reports=[{**MISSED, "label": "parasite"}, MISSED])
    with caplog.at_level(logging.WARNING, "services.stages.scan"):
        (result,) = lite.scan()
    assert (result["failures"], result["passed_over"]) == (1, {"parasite": 1})
    assert "parasite" in caplog.text
    assert [row.label for row in lite.failures()] == ["square"]

    lite.say(reports=[{"kind": "false", **lite.shown[0]}])
    assert lite.scan()[0]["failures"] == 2

    lite.add_model(2, blind("parasite"))
    lite.promote(2)
    (looked,) = lite.scan()
    assert "passed_over" not in looked
    assert {row.label for row in lite.failures()} == {"square", "disc", "parasite"}


def test_truth_of_a_class_that_the_model_does_not_know_is_passed_over(lite: Field) -> None:
    lite.add_class("parasite")
    lite.say(objects=[*lite.shown, {**PHANTOM, "label": "parasite"}])
    (result,) = lite.scan()
    assert (result["failures"], result["passed_over"]) == (0, {"parasite": 1})


def test_a_champion_that_does_not_know_a_class_has_not_fixed_it(lite: Field) -> None:
    lite.add_class("parasite")
    lite.say(objects=[*lite.shown, {**PHANTOM, "label": "parasite"}])
    second = lite.add_model(2, blind("parasite"))
    lite.promote(2)
    lite.scan(second)
    lite.add_model(3, tiny_ssd())
    lite.promote(3)
    lite.scan()
    (row,) = [row for row in lite.failures() if row.label == "parasite"]
    assert (row.model_id, row.state) == (second.id, FailureState.FOUND)
