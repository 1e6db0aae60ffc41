"""What is measured in a process of its own: ``python -m benchmarks.scale.child WHAT PROJECT ...``.

It prints one line of JSON with what was done, its processor time and the peak of its memory.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from benchmarks.scale.resident import peak_mib
from services import context as wiring
from services.config.settings import Settings
from services.context import Context
from services.db.engine import reading
from services.db.tables import Cycle, LabelTask, Unit, UnitState


def cycle(context: Context) -> dict[str, Any]:
    """Start a cycle, and do its units as a worker does until its label tasks wait."""
    from services.cycle import cycles  # each measures what it loads itself
    from services.units.resident import Resident
    from services.worker import shell

    with context.sessions.begin() as session:
        number = cycles.start(session, context).id
    spent, count, resident = Counter[str](), Counter[str](), Resident()
    looked_at = 0
    while True:
        with reading(context.sessions) as session:
            query = select(Unit).where(Unit.state == UnitState.QUEUED).order_by(Unit.id).limit(1)
            unit = session.scalar(query)
        if unit is None:
            break
        began = time.process_time()
        outcome = shell.run(context, resident, unit.id, "benchmark")
        if outcome != "done":
            raise RuntimeError(f"unit {unit.id} ({unit.kind}) is {outcome}")
        spent[unit.kind] += time.process_time() - began  # type: ignore[assignment]
        count[unit.kind] += 1
        looked_at += len(unit.payload["images"]) if unit.kind == "score_pool" else 0
    with reading(context.sessions) as session:
        state = session.get_one(Cycle, number).state
        tasks = session.scalar(select(func.count()).where(LabelTask.cycle_id == number))
    return {
        "state": state,
        "tasks": tasks,
        "images_looked_at": looked_at,
        "units": dict(count),
        "processor_s_by_unit": dict(spent),
    }


def choice(context: Context, policy: str, budget: str) -> dict[str, Any]:
    """Choose by a policy with what the champion has seen so far."""
    from services.config import builders
    from services.models import registry
    from services.selection.choose import Terms, choose
    from services.selection.pool_scores import known_scores

    settings = context.settings
    with reading(context.sessions) as session:
        champion = registry.require_champion(session)
    embedder = builders.region_embedder(settings, builders.load_encoder(settings))
    scores = known_scores(context, champion)
    chosen = choose(context, champion, embedder, scores, Terms(policy, 1, int(budget)))
    return {"policy": policy, "seen": len(scores), "candidates": len(chosen.candidates)}


def plan(context: Context) -> dict[str, Any]:
    """``e2x cycle plan --json``."""
    from services.selection.outlook import read_plan

    with reading(context.sessions) as session:
        found = read_plan(session, context)
    return {"images_to_look_at": found.images_to_look_at, "pool_images": found.pool_images}


WHAT: dict[str, Callable[..., dict[str, Any]]] = {"cycle": cycle, "choose": choice, "plan": plan}


def main() -> None:
    """Do one thing, and say what it took."""
    what, project, *rest = sys.argv[1:]
    context = wiring.build(Settings(project=Path(project)))
    idle_mib, loaded_s = peak_mib(), time.process_time()
    wall = time.perf_counter()
    found = WHAT[what](context, *rest)
    found |= {
        "processor_s": time.process_time() - loaded_s,
        "processor_s_to_start": loaded_s,
        "wall_s": time.perf_counter() - wall,
        "peak_mib": peak_mib(),
        "peak_mib_at_start": idle_mib,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
