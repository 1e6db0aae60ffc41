"""Who only reads keeps no writer waiting; held against the code itself, and by a lock."""

from __future__ import annotations

import ast
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

import services
from benchmarks.common.projects import make_context, make_model
from curation.kernel import images
from curation.kernel.types import ImageArray
from services.context import Context
from services.cycle import holdout, triggers
from services.db import engine as databases
from services.db.engine import reading
from services.db.tables import FailureState, Role
from services.errors import Conflict
from services.failures.check import still_failing, words_about
from services.models import evaluation
from services.models.classes import class_names
from services.store.storage import put_image
from services.units import Claim
from services.units.pipeline import STAGES, StageContext
from services.units.resident import Resident
from tests.services.builders import make_failure, make_image
from tests.tiny_ssd import tiny_ssd

ROOT = Path(services.__file__).parent
PATIENCE_MS = 1000
OPENERS = {"db/engine.py", "db/races.py"}
"""Where sessions are opened; everybody else asks for one of a kind."""


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _opens_plainly(call: ast.Call) -> bool:
    """``….sessions()``: a session that takes the write lock and commits nothing."""
    function = call.func
    return (isinstance(function, ast.Attribute) and function.attr in ("sessions", "_sessions")) or (
        isinstance(function, ast.Name) and function.id == "sessions"
    )


def test_a_session_is_for_reading_or_for_a_transaction() -> None:
    plain = [
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for file in sorted(ROOT.rglob("*.py"))
        if str(file.relative_to(ROOT)) not in OPENERS
        for call in _calls(ast.parse(file.read_text()))
        if _opens_plainly(call)
    ]
    assert plain == [], "use `reading(context.sessions)`, or `context.sessions.begin()` to write"


WRITES = {
    *("add", "add_all", "delete", "merge", "flush", "execute", "begin_nested"),
    *("enqueue", "claim", "renew", "release", "fail", "finish", "requeue_expired", "announce"),
}
"""What a block that begins a transaction may do by itself; the rest it hands its session to."""


def test_a_transaction_hands_its_session_to_somebody_or_writes() -> None:
    """A block that only looks rows up needs none."""
    idle = []
    for file in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.With):
                continue
            opened = {
                ast.unparse(item.optional_vars) if item.optional_vars else ""
                for item in node.items
                if ast.unparse(item.context_expr).endswith("sessions.begin()")
            }
            if not opened:
                continue
            handed = any(
                any(isinstance(arg, ast.Name) and arg.id in opened for arg in call.args)
                or (isinstance(call.func, ast.Attribute) and call.func.attr in WRITES)
                for part in node.body
                for call in _calls(part)
            )
            assigns = any(
                isinstance(target, ast.Attribute)
                for part in node.body
                for inner in ast.walk(part)
                if isinstance(inner, ast.Assign)
                for target in inner.targets
            )
            yields = any(isinstance(inner, ast.Yield) for p in node.body for inner in ast.walk(p))
            if not (handed or assigns or yields):
                idle.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert idle == []


@pytest.fixture
def project(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sqlite_url: str, photo: ImageArray
) -> Iterator[tuple[Context, dict[str, Any]]]:
    """A pool image and a frame with a failure, while another process writes and does not end."""
    monkeypatch.setattr(databases, "SQLITE_BUSY_MS", PATIENCE_MS)
    small = {"encoder_weights": "random", "encoder_height_px": 64, "encoder_width_px": 64}
    quick = {"num_segments": 20, "num_samples": 8}
    context = make_context(tmp_path / "project", sqlite_url, selection=small, explanation=quick)
    tiny_ssd().save(context.project.models / "tiny")
    stored = [put_image(context, images.encode_jpeg(photo, q)) for q in (80, 90)]
    names = list(tiny_ssd().class_names)
    with context.sessions.begin() as session:
        model = make_model(1, folder="models/tiny", class_names=names)
        pool, frame = (
            make_image(1, role, id=one.id, file=one.file, width_px=512, height_px=512)
            for one, role in zip(stored, (Role.POOL, Role.FIELD), strict=True)
        )
        session.add_all([model, pool, frame])
        session.flush()
        state, box = FailureState.FOUND, [40.0, 60.0, 300.0, 380.0]
        failure = make_failure(1, frame, model, label="square", box=box, state=state, default_box=7)
        session.add(failure)
    context.engine.dispose()
    file = make_url(str(context.engine.url)).database
    assert file is not None
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    payloads = {
        "scan": {"image": frame.id, "model": model.id},
        "explain": {"image": frame.id, "model": model.id},
        "embed": {"images": [pool.id]},
        "score_pool": {"images": [pool.id], "model": model.id, "number": 0},
    }
    yield context, payloads
    other.execute("ROLLBACK")
    other.close()
    context.engine.dispose()


def test_a_stage_computes_while_others_write(project: tuple[Context, dict[str, Any]]) -> None:
    context, payloads = project
    stage = StageContext(context, Resident(), lambda: None)
    for kind, payload in payloads.items():
        claim = Claim(1, 1, kind, payload, 1, None)
        assert callable(STAGES[kind].load()(stage, claim)), kind


def test_looks_of_the_service_do_not_wait_for_writers(
    project: tuple[Context, dict[str, Any]],
) -> None:
    context, payloads = project
    model_id = payloads["scan"]["model"]
    assert triggers.check(context) == []
    assert evaluation.reports_of(context, model_id) == {}
    assert evaluation.measured(context, model_id).id == model_id
    with reading(context.sessions) as session:
        assert class_names(session) == ("background",)
        with pytest.raises(Conflict, match="holdout"):
            holdout.require(session, make_model(1))
        assert words_about(session, []) == {}
    stage = StageContext(context, Resident(), lambda: None)
    assert still_failing(stage, model_id, [], {}) == set()
