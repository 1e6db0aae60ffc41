"""The report's first figures: which failing frames teach and which judge."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from curation.modes.dealing import Side
from services.context import Context
from services.db import sides
from services.db.tables import Annotation, FailureRow, Image
from services.report import build
from tests.services.report_project import fill, make_predict
from tests.services.test_report import mark_fixed, read


def test_frames_that_teach_are_told_from_those_that_judge(
    sqlite_context: Context, tmp_path: Path
) -> None:
    project = fill(sqlite_context)
    mark_fixed(sqlite_context, project.failures, project.challenger)
    with sqlite_context.sessions.begin() as session:
        rows = session.scalars(select(FailureRow).order_by(FailureRow.image_id)).all()
        taught, *others = sorted({row.image_id for row in rows})
        frame = session.get_one(Image, taught)
        sides.keep(session, project.cycle, {sides.group_of(frame): Side.PARENT})
        session.add(Annotation(image_id=taught, objects=[]))
        left = sum(row.image_id != taught for row in rows)
    assert 0 < left < len(project.failures)
    text = read(build(sqlite_context, tmp_path / "r.html", predict=make_predict(project))).text
    assert f"Failures fixed {left} of {left} of all models so far, in frames that judge" in text
    assert "Failing frames that teach 1 1 with truth, 0 to label" in text
    assert (
        f"Failing frames that judge {len(others)} never trained on: they say what is fixed" in text
    )
