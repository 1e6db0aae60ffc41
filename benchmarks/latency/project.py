"""The project whose frames are reported: a street world and a small detector that knows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import func, select

from benchmarks.common.waiting import wait_until
from curation.kernel.images import encode_png
from services import context as wiring
from services.config.settings import Settings
from services.context import Context
from services.db import migrate
from services.db.engine import reading
from services.db.tables import Embedding, Role, Unit, UnitState
from services.demo.sizes import DemoSize, write_settings
from services.demo.street import Scene, WorldConfig, generate
from services.demo.world import make_world
from services.intake.imports import import_dataset
from services.models import registry, training
from services.worker.supervisor import Supervisor

SIZE = DemoSize(
    seed_images=60,
    pool_images=120,
    field_frames=0,
    sibling_frames=0,
    holdout_images=20,
    budget_boxes=20,
    epochs=5,
)
LONG_S = 3600.0
WORKERS = {"explain": ("explain",), "rest": ("embed", "index", "default", "train")}
"""Two workers, one a core."""


def make(folder: Path, seed: int = 0) -> Context:
    """The project, with everything but its champion and the embeddings of its pool."""
    write_settings(folder / "project", SIZE, seed)
    make_world(folder / "world", SIZE, seed, lambda *_: None)
    context = wiring.build(Settings(project=folder / "project"))
    context.project.make()
    migrate.upgrade(context.engine)
    for role in (Role.SEED, Role.HOLDOUT, Role.POOL):
        import_dataset(context, folder / "world" / role, role)
    return context


@contextmanager
def running(context: Context, endpoint: str) -> Iterator[Supervisor]:
    """All processes, idle, with a champion and an indexed pool; their spans go to an endpoint."""
    telemetry = context.settings.telemetry.model_copy(update={"traces_endpoint": endpoint})
    traced = Context(
        context.settings.model_copy(update={"telemetry": telemetry}),
        context.project,
        context.engine,
        context.sessions,
    )
    with Supervisor(traced, WORKERS) as up:
        up.wait_ready()
        with context.sessions.begin() as session:
            training.request(session)
        wait_until(lambda: _has_champion(context), LONG_S, "the detector is trained")
        wait_until(lambda: is_idle(context), LONG_S, "the pool is indexed")
        yield up


def _has_champion(context: Context) -> bool:
    with reading(context.sessions) as session:
        return registry.champion(session) is not None


def is_idle(context: Context) -> bool:
    """Whether nothing is left to do."""
    open_ = Unit.state.in_((UnitState.QUEUED, UnitState.LEASED))
    with reading(context.sessions) as session:
        if session.scalar(select(func.count()).where(open_)):
            return False
        return not session.scalar(select(func.count()).where(Embedding.indexed.is_(False)))


def frames(count: int) -> Iterator[tuple[Scene, bytes]]:
    """Field frames as PNG; half of them hold a cause that the detector has not learnt."""
    for scene in generate(WorldConfig(), "field", count, 7):
        yield scene, encode_png(scene.image)
