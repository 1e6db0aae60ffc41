"""The explain stage with any method: regions, maps of pixels, kept superpixels, clear refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from curation.regions import harmful_regions
from services import units
from services.config.builders import region_rules
from services.config.project import Project
from services.context import Context
from services.db.tables import (
    Explanation,
    FailureRow,
    FailureState,
    Unit,
    UnitState,
)
from services.store.drawings import attribution_of, box_of
from services.store.storage import read_npz
from services.units.resident import Resident
from services.worker import shell
from tests.tiny_ssd import tiny_ssd

SETTINGS: dict[str, Any] = {"encoder_weights": "random", "encoder_height_px": 64}


def work(
    context: Context, resident: Resident | None = None, **explanation: Any
) -> tuple[str, dict[str, Any], str]:
    """Explain the frame under these settings: state, result and error of the unit."""
    settings = context.settings.model_copy(
        update={
            "explanation": context.settings.explanation.model_copy(
                update={"num_segments": 20, **explanation}
            ),
            "selection": context.settings.selection.model_copy(update=SETTINGS),
        }
    )
    wired = Context(settings, context.project, context.engine, context.sessions)
    with wired.sessions.begin() as session:
        failure = session.query(FailureRow).first()
        assert failure is not None
        payload = {"image": failure.image_id, "model": failure.model_id}
        key = f"explain:{session.query(Unit).count()}"
        units.enqueue(session, "explain", key, payload)
    with wired.sessions() as session:
        unit_id = session.query(Unit).order_by(Unit.id.desc()).limit(1).one().id
    shell.run(wired, Resident() if resident is None else resident, unit_id, "test")
    with wired.sessions() as session:
        unit = session.get_one(Unit, unit_id)
        return unit.state, dict(unit.result or {}), unit.error or ""


def partitions(project: Project) -> list[bytes]:
    return [file.read_bytes() for file in sorted(project.segments.rglob("*.npz"))]


def test_superpixels_are_those_of_the_last_time(found: Context) -> None:
    resident = Resident()
    state, result, error = work(found, resident, method="e2x", num_samples=2)
    assert state == UnitState.DONE, error
    assert result["explained"] == 2
    (kept,) = partitions(found.project)
    with found.sessions.begin() as session:
        for failure in session.query(FailureRow):
            failure.state = FailureState.FOUND
    parameters = {"levels": "iid"}
    again = work(found, resident, method="e2x", num_samples=3, parameters=parameters)
    assert again[0] == UnitState.DONE
    assert partitions(found.project) == [kept]
    with found.sessions() as session:
        rows = session.query(Explanation).all()
        assert {row.parameters["levels"] for row in rows} == {"grid", "iid"}
        stored = [read_npz(found.project.explanations / row.file)["segments"] for row in rows]
    for segments in stored[1:]:
        np.testing.assert_array_equal(segments, stored[0])


def test_a_map_of_pixels_that_knows_no_harm_is_kept_and_says_so(found: Context) -> None:
    state, result, error = work(found, method="odam", segmentation="grid")
    assert state == UnitState.DONE, error
    assert result["without_regions"] == 1  # the missed object; support is a false positive's harm
    with found.sessions() as session:
        for row in session.query(Explanation):
            failure = session.get_one(FailureRow, row.failure_id)
            attribution = attribution_of(found, failure, row)
            assert attribution.pixels is not None
            assert attribution.pixels.shape == tiny_ssd().input_size_hw
            assert bool(row.regions) == (failure.kind == "false_positive")
            assert isinstance(attribution.notes, tuple)


def test_what_regions_were_cut_from_is_kept_beside_what_is_shown(found: Context) -> None:
    # masks alone: what is named for its removal is not cut from values
    alone = {"parameters": {"first_samples": 0}}
    state, _, error = work(found, method="gp_shap", num_samples=64, segmentation="grid", **alone)
    assert state == UnitState.DONE, error
    size_wh, rules = (512, 512), region_rules(found.settings)
    with found.sessions() as session:
        for row in session.query(Explanation):
            failure = session.get_one(FailureRow, row.failure_id)
            attribution = attribution_of(found, failure, row)
            assert attribution.region_values is not None
            assert np.abs(attribution.region_values - attribution.values).max() > 0
            support = failure.kind == "false_positive"
            again = harmful_regions(attribution, support, size_wh, rules, box_of(failure))
            masks = read_npz(found.project.explanations / row.file)["masks"]
            np.testing.assert_array_equal([region.mask for region in again], masks)
            assert len(masks) > 0


@pytest.mark.parametrize(
    ("explanation", "words"),
    [
        ({"method": "tea_leaves"}, "there are"),
        ({"method": "e2x", "parameters": {"leaves": 3}}, "it takes num_samples"),
    ],
)
def test_a_method_that_cannot_be_parks_the_unit_with_what_is_accepted(
    found: Context, explanation: dict[str, Any], words: str
) -> None:
    state, _, error = work(found, **explanation)
    assert state == UnitState.DEAD
    assert words in error


def test_half_precision_takes_over_once_its_maps_agree(found: Context) -> None:
    resident, taken = Resident(), []
    for _ in range(5):  # two failures a unit: the first four units are the trial of eight targets
        with found.sessions.begin() as session:
            for failure in session.query(FailureRow):
                failure.state = FailureState.FOUND
        state, _, error = work(found, resident, num_samples=40, mixed_precision="bf16")
        assert state == UnitState.DONE, error
        with found.sessions() as session:
            rows = session.query(Explanation).all()
            taken.append(sum(row.parameters.get("precision") == "bf16" for row in rows))
    assert taken == [0, 0, 0, 0, 2]
