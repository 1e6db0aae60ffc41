"""``e2x labels``: what an export leaves alone, what an import reads and corrects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import select

from services.db.tables import Annotation, Cycle, LabelTask
from tests.services.builders import stored_image
from tests.services.commands import CommandLine
from tests.services.label_queue import NEW, corrected


@pytest.fixture
def asked(champion: CommandLine) -> CommandLine:
    """A command line in a project that asks for labels of two images, which lie in its store."""
    with champion.opened() as context, context.sessions.begin() as session:
        images = [stored_image(context, seed) for seed in (1, 2)]
        cycle = Cycle(policy="random", budget_boxes=9, champion_id=f"{1:064x}", state="labelling")
        session.add_all([cycle, *images])
        session.flush()
        session.add_all(
            LabelTask(
                cycle_id=cycle.id,
                image_id=one.id,
                prelabels=[{"box": [1.0, 2.0, 9.5, 8.0], "label": "car", "score": 0.7}],
            )
            for one in images
        )
    return champion


def test_the_command_line_corrects_answers(asked: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "tasks"
    asked.done("labels", "export", "--out", out)
    asked.done("labels", "import", out, "--author", "anna", "--take-untouched")
    file = out / "annotations.json"
    file.write_text(json.dumps(corrected(json.loads(file.read_text()), 1)))

    refused = asked.run("labels", "import", out)
    done = asked.done("labels", "import", out, "--replace", "--author", "bert")

    assert refused.code == 1
    assert "--replace" in refused.out
    assert "0 tasks answered, 1 answers replaced with 1 boxes" in done.out
    assert "1 of them late" in done.out
    with asked.opened() as context, context.sessions() as session:
        rows = session.scalars(select(Annotation).where(Annotation.author == "bert")).all()
        assert [(row.revision, row.objects) for row in rows] == [(2, [NEW])]


def test_annotations_that_somebody_has_edited_are_not_written_over(
    asked: CommandLine, tmp_path: Path
) -> None:
    out = tmp_path / "tasks"
    asked.done("labels", "export", "--out", out)
    asked.done("labels", "export", "--out", out)  # the same is no loss
    file = out / "annotations.json"
    edited = json.dumps(corrected(json.loads(file.read_text()), 0))
    file.write_text(edited)

    said = asked.refused("labels", "export", "--out", out)

    assert "it may hold somebody's work; name another folder, or say --overwrite" in said
    assert file.read_text() == edited
    asked.done("labels", "export", "--out", out, "--overwrite")
    assert file.read_text() != edited


def test_an_image_that_a_broken_off_export_left_is_made_whole(
    asked: CommandLine, tmp_path: Path
) -> None:
    out = tmp_path / "tasks"
    asked.done("labels", "export", "--out", out)
    whole = {file: file.read_bytes() for file in (out / "images").iterdir()}
    first, second = sorted(whole)
    first.write_bytes(whole[first][:100])
    second.unlink()

    asked.done("labels", "export", "--out", out)

    assert {file: file.read_bytes() for file in (out / "images").iterdir()} == whole


def test_a_byte_order_mark_is_read_over(asked: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "tasks"
    asked.done("labels", "export", "--out", out)
    file = out / "annotations.json"
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert "2 tasks answered" in asked.done("labels", "import", out, "--take-untouched").out
