"""``e2x train --suggest``, ``--apply`` and ``--again``."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from sqlalchemy import select

from services.config.builders import detector_config
from services.config.settings import Settings
from services.db.tables import DatasetVersion, Model, ModelState
from services.models import registration
from services.models.training import Trained
from tests.services.builders import add_champion, add_holdout_image
from tests.services.commands import CommandLine
from tests.services.datasets_on_disk import pictures, write_coco

SETTINGS = """# mine
[detector]
weights = "random"   # no download
input_height_px = 64
input_width_px = 64
min_scale = 0.4

[training]
epochs = 1
batch_size = 4
[workers]
threads = 1
"""


@pytest.fixture
def seeded(line: CommandLine, tmp_path: Path) -> CommandLine:
    """Twenty-four images of one small object each, and default boxes that are too large."""
    (line.root / "e2x.toml").write_text(SETTINGS)
    folder = write_coco(tmp_path / "seed", pictures(*range(1, 25)))
    line.done("import", folder, "--role", "seed")
    return line


def test_it_prints_how_boxes_fit_and_what_to_write(seeded: CommandLine) -> None:
    said = seeded.done("train", "--suggest").out
    assert "none fits, now" in said
    written = said[said.index("[detector]") :]
    proposed = tomllib.loads(written[: written.index("]]") + 2])["detector"]
    assert proposed["scales"][0] < 0.4
    assert len(proposed["scales"]) == len(proposed["aspect_ratios"]) + 1
    assert (seeded.root / "e2x.toml").read_text() == SETTINGS
    with seeded.opened() as context, context.sessions() as session:
        assert not session.scalars(select(Model)).all()


def test_applied_it_is_written_beside_the_rest_and_trained_with(seeded: CommandLine) -> None:
    assert "model 1 is the champion" in seeded.done("train", "--suggest", "--apply").out
    text = (seeded.root / "e2x.toml").read_text()
    assert text.startswith("# mine\n")
    assert 'weights = "random"   # no download' in text
    chosen = tomllib.loads(text)["detector"]
    with seeded.opened() as context, context.sessions() as session:
        folder = context.project.root / session.scalars(select(Model)).one().folder
    kept = json.loads((folder / "config.json").read_text())["detector"]
    assert kept["scales"] == chosen["scales"]
    assert kept["aspect_ratios"] == chosen["aspect_ratios"]


def test_what_does_not_belong_together_is_refused(line: CommandLine) -> None:
    assert "--apply belongs to --suggest" in line.refused("train", "--apply")
    assert "--role seed" in line.refused("train", "--suggest")


def test_settings_that_no_detector_can_have_are_refused(line: CommandLine) -> None:
    (line.root / "e2x.toml").write_text("[detector]\nscales = [0.5, 0.2]\n")
    assert "rising" in line.refused("config")
    settings = Settings(detector={"scales": [0.1, 0.2], "aspect_ratios": [[2.0]]})
    config = detector_config(settings, ("background", "car"))
    assert (config.scales, config.aspect_ratios) == ((0.1, 0.2), ((2.0,),))


@pytest.mark.parametrize(("found", "state"), [(1, "champion"), (0, "challenger")])
def test_one_that_was_trained_again_takes_the_place_of_one_that_finds_less(
    found: int, state: str, line: CommandLine
) -> None:
    figures = {"objects": 4, "found": found, "images": 1}
    with line.opened() as context, context.sessions.begin() as session:
        old = add_champion(session)
        add_holdout_image(session)
        old.reports = {"holdout": {"objects": 4, "found": 0, "images": 1}}
        dataset = DatasetVersion(id="d" * 64, file="none.jsonl", images=1, boxes=1)
        session.add(dataset)
        session.flush()
        made = Trained(
            "f" * 64, "models/f", ("background", "car"), dataset.id, None,
            {"architecture": old.architecture, "unreadable": []}, {"holdout": figures},
        )  # fmt: skip
        made_model = registration.register_first(session, made)
        assert made_model.state == state
        expected = ModelState.RETIRED if state == "champion" else ModelState.CHAMPION
        assert old.state == expected


def test_training_again_is_asked_for_by_name(line: CommandLine) -> None:
    with line.opened() as context, context.sessions.begin() as session:
        add_champion(session)
    assert "e2x train --again" in line.refused("train")
