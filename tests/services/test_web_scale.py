"""Every page with no failure, one and thousands: as many statements, and a page of bounded size."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.common.projects import make_context
from benchmarks.pages import measure
from benchmarks.pages.project import fill

MANY = 1200
GROWS = 3
"""Statements more that a page may take: ids go to the database in parts, and a page that is full
asks what it has none of when there is one row only."""
MOST_KB = 400.0
DRAWN = ("/failures", "/plan", "/plan?mode=1")
"""Pages all of whose pictures lie in this project."""
OF_THIRD = "/looks/3"
"""Of a row that is not there among the few."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One page: status, statements, size, and how its first pictures were answered."""

    status: int
    statements: int
    kilobytes: float
    pictures: set[int]


def look(folder: Path, template: Path, failures: int) -> dict[str, Seen]:
    """All pages of a project with so many failures."""
    file = folder / f"{failures}.db"
    shutil.copy(template, file)
    context = make_context(folder / f"project-{failures}", f"sqlite:///{file}")
    fill(context, failures)
    found = {}
    with measure.visitor(context) as client:
        for path in measure.PAGES:
            with measure.counted(context) as asked:
                answer = client.get(path)
            linked = [one for one in measure.LINKED.findall(answer.text) if "/pictures/" in one][:3]
            pictures = {client.get(one.replace("&amp;", "&")).status_code for one in linked}
            size = len(answer.content) / 1e3
            found[path] = Seen(answer.status_code, len(asked), size, pictures)
    context.engine.dispose()
    return found


@pytest.mark.whole
def test_pages_take_as_much_for_thousands_of_failures_as_for_one(
    tmp_path: Path, sqlite_template: Path
) -> None:
    none, one, many = (look(tmp_path, sqlite_template, count) for count in (0, 1, MANY))

    of_one = {path for path, seen in none.items() if seen.status != 200}
    assert {none[path].status for path in of_one} == {404}
    assert all("/failures/" in path or path.count("/") > 1 for path in of_one)
    assert {path for path, seen in one.items() if seen.status != 200} == {OF_THIRD}
    assert {path for path, seen in many.items() if seen.status != 200} == set()
    more = {path: seen.statements - one[path].statements for path, seen in many.items()}
    assert {path: count for path, count in more.items() if count > GROWS and path != OF_THIRD} == {}
    assert {path: seen.kilobytes for path, seen in many.items() if seen.kilobytes > MOST_KB} == {}
    assert all(seen.pictures <= {200, 404} for seen in [*one.values(), *many.values()])
    assert {path: many[path].pictures for path in DRAWN} == {path: {200} for path in DRAWN}
