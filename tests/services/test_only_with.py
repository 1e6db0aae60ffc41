"""A region that hurts only beside another is said to, wherever its explanation is shown."""

from __future__ import annotations

from pathlib import Path

from services.context import Context
from services.db.tables import Explanation
from services.plain import beside
from services.report import build
from tests.services.report_project import fill


def test_the_report_tells_it(sqlite_context: Context, tmp_path: Path) -> None:
    fill(sqlite_context)
    out = tmp_path / "report.html"
    assert "hurts only with" not in build(sqlite_context, out).read_text()
    with sqlite_context.sessions.begin() as session:
        for row in session.query(Explanation):
            row.regions = [{**row.regions[0], "only_with": 1}, dict(row.regions[0])]
    assert "region 1 hurts only with region 2" in build(sqlite_context, out).read_text()


def test_explanations_of_earlier_versions_do_not_tell() -> None:
    assert beside({"box": [0, 0, 1, 1], "weight": 1.0}) == ""
    assert beside({"box": [0, 0, 1, 1], "weight": 1.0, "only_with": None}) == ""
    assert beside({"box": [0, 0, 1, 1], "weight": 1.0, "only_with": 0}) == "region 1"
