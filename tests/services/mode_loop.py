"""A loop without a network: failures with planted causes, and every step of a cycle but training.

Selection, label queue, cycles, promotion and what a scan stores are the project's own.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from sqlalchemy import select

from benchmarks.common.projects import make_model
from curation.kernel.images import encode_png
from curation.kernel.types import FloatArray
from services.config.settings import PROJECT_FILE
from services.context import Context
from services.cycle import cycles
from services.db.tables import (
    CandidateRow,
    Cycle,
    CycleState,
    DatasetVersion,
    Embedding,
    Explanation,
    FailureRow,
    FailureState,
    Image,
    Model,
    ModeRow,
    Role,
    Unit,
    UnitState,
)
from services.failures import findings
from services.labeling import queue
from services.models import registry
from services.store import embeddings
from services.store.region_index import open_index, width_of
from services.store.storage import key_of, put_image, write_arrays
from services.units.requests import request_embed
from services.units.resident import Resident
from services.worker import shell
from tests.services.builders import (
    add_champion,
    add_holdout_image,
    finish_units,
    make_failure,
    make_image,
)

NOISE = 0.2
ENCODER = {"encoder_height_px": 64, "encoder_width_px": 96}
CAR = findings.Words([{"box": [1.0, 1.0, 20.0, 20.0], "label": "car"}], [], None)
"""What is in each frame."""
POLICY = "whole_image"
"""Gives each failure's nearest image in turn, so that a mode is passed over only on purpose."""


@dataclass(frozen=True, slots=True)
class _Start:
    """What a loop knows of the project that it starts in."""

    encoder: str
    whole: int
    mean: FloatArray
    causes: FloatArray
    rng: np.random.Generator
    loaded: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Copy:
    """Folder and database of a project, to be had again: to embed a pool takes ten seconds."""

    folder: TemporaryDirectory[str]

    @classmethod
    def of(cls, context: Context) -> _Copy:
        """Copy a project on SQLite in which nothing runs."""
        made = cls(TemporaryDirectory())
        context.engine.dispose()  # the last one to leave writes its log into the file
        # Its settings are the other project's own.
        settings = shutil.ignore_patterns(PROJECT_FILE)
        shutil.copytree(context.project.root, made._root, ignore=settings)
        shutil.copy(_database(context), made._database)
        return made

    def put(self, context: Context) -> None:
        """Let a new project be that one."""
        context.engine.dispose()
        shutil.copytree(self._root, context.project.root, dirs_exist_ok=True)
        shutil.copy(self._database, _database(context))

    @property
    def _root(self) -> Path:
        return Path(self.folder.name, "project")

    @property
    def _database(self) -> Path:
        return Path(self.folder.name, "database")


_BUILT: dict[tuple[int, str], tuple[_Start, _Copy]] = {}
"""By size of the pool and settings: what the first loop of this process has built."""


def _database(context: Context) -> Path:
    file = context.engine.url.database
    assert file
    return Path(file)


def _not_loaded() -> None:
    raise AssertionError("embedding loads it")


class ModeLoop:
    """A project with a pool of noise; fields are what the next step needs."""

    def __init__(self, context: Context, pool: int = 12, learn_from_field: float = 0) -> None:
        self._learn = learn_from_field
        self.reopen(context)
        settings = self.context.settings
        if context.engine.dialect.name != "sqlite" or settings.storage.url:
            self._keep(self._build(pool))  # its rows and files lie elsewhere
            return
        key = pool, settings.model_dump_json(exclude={"project", "database_url"})
        if key in _BUILT:
            start, built = _BUILT[key]
            built.put(self.context)
        else:
            start = self._build(pool)
            _BUILT[key] = start, _Copy.of(self.context)
        self._keep(start)

    def _build(self, pool: int) -> _Start:
        """Store, embed and index a pool of noise, with a champion and a holdout image."""
        self._resident = resident = Resident()
        self._rng = np.random.default_rng(0)
        with self.context.sessions.begin() as session:
            add_champion(session)
            add_holdout_image(session)
            images = [self._noise() for _ in range(pool)]
            session.add_all(images)
            session.flush()
            request_embed(session, sorted(image.id for image in images), 32)
        self._work("embed")
        self._work("index")
        with self.context.sessions() as session:
            row = session.scalars(select(Embedding).limit(1)).one()
        whole = embeddings.read(self.context, row.file)["wholes"].shape[1]
        index = open_index(
            self.context, row.encoder_version, width_of(self.context, row.encoder_version)
        )
        vectors = np.concatenate([index.regions_of(image)[0] for image in index.images()])
        width = vectors.shape[1]
        causes = self._rng.normal(size=(4, 2, width)) / np.sqrt(width)
        return _Start(
            encoder=row.encoder_version,
            whole=whole,
            mean=vectors.mean(0),
            causes=causes,
            rng=self._rng,
            loaded={name: resident.get(name, _not_loaded) for name in ("encoder", "embedder")},
        )

    def _keep(self, start: _Start) -> None:
        """Go on from there."""
        self._resident = Resident()
        for name in start.loaded:
            self._resident.get(name, partial(start.loaded.get, name))
        self._rng = copy.deepcopy(start.rng)
        self.encoder = start.encoder
        self._whole = start.whole
        self.width = start.mean.shape[0]
        # Causes stand out from what the pool's regions have in common: the metric removes that.
        self._mean = start.mean
        self._causes = start.causes

    def reopen(self, context: Context) -> None:
        """Go on in this project, which may be a copy."""
        wanted = context.settings.selection.model_copy(
            update={**ENCODER, "learn_from_field": self._learn}
        )
        settings = context.settings.model_copy(update={"selection": wanted})
        self.context = Context(settings, context.project, context.engine, context.sessions)

    def scan(self, frames: Sequence[int], fails: dict[int, int]) -> None:
        """Let the champion look at frames.

        Args:
            frames: numbers of field frames, new or known.
            fails: frame in which it misses the car, and the cause of that.
        """
        with self.context.sessions.begin() as session:
            champion = registry.require_champion(session)
            for number in frames:
                image = session.merge(make_image(10_000 + number, Role.FIELD))
                session.flush()
                rows = []
                if number in fails:
                    rows = [make_failure(100 * champion.number + number, image, champion)]
                findings.keep_own(session, image.id, champion.id, rows)
                findings.settle_earlier(
                    session, image.id, champion.id, rows, CAR, champion.class_names
                )
                if rows:
                    session.add(self._explained(rows[0], fails[number]))

    def select(self, budget_boxes: int = 4) -> int:
        """Start a cycle and select; its number."""
        with self.context.sessions.begin() as session:
            cycle = cycles.start(session, self.context, policy=POLICY, budget_boxes=budget_boxes).id
            finish_units(session, self.context, "score_pool", {})
            cycles.advance(session, self.context, cycle)
        self.work_select(cycle)
        return cycle

    def work_select(self, cycle: int) -> None:
        """Select; the champion can see nothing of what the selection would have it look at."""
        self._work("select")
        with self.context.sessions.begin() as session:
            asked = finish_units(session, self.context, "score_pool", {})
            if asked:
                cycles.advance(session, self.context, cycle)
        if asked:
            self.work_select(cycle)

    def label(self, cycle: int) -> None:
        """Answer every label task of a cycle."""
        with self.context.sessions.begin() as session:
            for task in queue.lease(session, "anna", 100, 60.0, cycle):
                queue.submit(session, self.context, task.id, task.token, [], "anna")

    def gate(self, cycle: int, promote: bool) -> None:
        """Train a challenger, and promote or refuse it; its scans are :meth:`scan`'s to do."""
        with self.context.sessions.begin() as session:
            row = session.get_one(Cycle, cycle)
            assert row.state == CycleState.TRAINING
            finish_units(session, self.context, "train", {})
            reports = registry.require_champion(session).reports
            challenger = make_model(registry.next_number(session), reports=reports)
            session.add_all(
                [challenger, DatasetVersion(id=f"{cycle:064x}", file="d", images=0, boxes=0)]
            )
            session.flush()
            cycles.begin_gating(session, row, challenger.id, f"{cycle:064x}")
            finish_units(session, self.context, "gate", {})
            if promote:
                registry.promote(session, challenger, "gate", {}, cycle)
            cycles.close(session, row, promote)

    def finish(self, cycle: int) -> None:
        """The scans after a promotion are done: the cycle ends."""
        with self.context.sessions.begin() as session:
            finish_units(session, self.context, "scan", {})
            cycles.advance(session, self.context, cycle)
            assert session.get_one(Cycle, cycle).state == CycleState.DONE

    def states(self) -> dict[str, str]:
        """State of each mode by name."""
        with self.context.sessions() as session:
            return {row.name: row.state for row in session.scalars(select(ModeRow))}

    def asked(self, cycle: int) -> list[str]:
        """Names of the modes that a cycle asked images for, one an image."""
        with self.context.sessions() as session:
            query = (
                select(ModeRow.name)
                .join(CandidateRow, CandidateRow.mode_id == ModeRow.id)
                .where(CandidateRow.cycle_id == cycle)
            )
            return sorted(session.scalars(query))

    def champion(self) -> Model:
        """The model in use."""
        with self.context.sessions() as session:
            return registry.require_champion(session)

    def _noise(self) -> Image:
        data = encode_png(self._rng.integers(0, 255, (64, 96, 3), dtype=np.uint8))
        stored = put_image(self.context, data)
        return make_image(
            0,
            id=stored.id,
            file=stored.file,
            width_px=stored.width_px,
            height_px=stored.height_px,
            perceptual_hash=stored.perceptual_hash,
        )

    def _explained(self, failure: FailureRow, cause: int) -> Explanation:
        """Store what hurt: the cause, with the noise of an explanation."""
        harm, found = (self._near(vector) for vector in self._causes[cause])
        file = f"{failure.id}.npz"
        write_arrays(
            self.context,
            key_of(self.context, self.context.project.explanations, file),
            vectors=harm[None],
            weights=np.ones(1, np.float32),
            object_vector=found,
            image_vector=self._rng.normal(size=self._whole).astype(np.float32),
        )
        failure.state = FailureState.EXPLAINED
        return Explanation(
            id=failure.id,
            failure_id=failure.id,
            method="test",
            encoder_version=self.encoder,
            file=file,
            score=0.0,
            baseline_score=0.0,
            seconds=0.0,
        )

    def _near(self, vector: FloatArray) -> FloatArray:
        noise = NOISE * self._rng.normal(size=vector.shape) / np.sqrt(self.width)
        found: FloatArray = (self._mean + vector + noise).astype(np.float32)
        return found

    def _work(self, kind: str) -> None:
        """Do all queued units of a kind, as a worker does."""
        with self.context.sessions() as session:
            waiting = session.scalars(
                select(Unit.id).where(Unit.kind == kind, Unit.state == UnitState.QUEUED)
            ).all()
        assert waiting, f"nothing of kind {kind} was asked for"
        for unit_id in waiting:
            assert shell.run(self.context, self._resident, unit_id, "test") == "done"
