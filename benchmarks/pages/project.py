"""A project with many rows of everything that pages show, written in bulk."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from benchmarks.common.projects import make_model
from curation.kernel import images
from services.accounts import users
from services.context import Context
from services.db import tables as t
from services.db.base import Base, utc_now
from services.models import registry
from services.selection import plans
from services.store.storage import put_image, write_npz

FAILURES_A_FRAME = 4
PICTURED = 30
"""Failures whose frames lie in the store: the newest, whose pictures a list shows."""
FRAME_HW = (720, 1280)
KINDS = ("false_negative", "false_positive", "wrong_class", "bad_localisation")
CLASSES = ("car", "bus", "truck", "person")


def fill(context: Context, failures: int) -> None:
    """Failures and, in proportion, frames, modes, models, tasks, units, decisions and a plan.

    Args:
        context: of an empty project.
        failures: how many; 0: nothing is stored but a user of each role.
    """
    with context.sessions.begin() as session:
        for role in t.UserRole:
            users.add(session, context.settings, role, role, None)
    if not failures:
        return
    with context.sessions.begin() as session:
        _Filler(session, context, failures).fill()
    with context.sessions.begin() as session:
        session.add(_plan(session, context, failures))


def failure_id(number: int) -> str:
    """Of the failure of that number; the newest is 0."""
    return f"{number:064x}"


class _Filler:
    """Writes rows in the order in which they need each other."""

    def __init__(self, session: Session, context: Context, failures: int) -> None:
        self.session, self.context, self.failures = session, context, failures
        self.frames = -(-failures // FAILURES_A_FRAME)
        self.modes = min(200, -(-failures // 50))
        self.cycles = min(40, -(-failures // 250))
        self.tasks = -(-failures // 3)
        self.now = utc_now()

    def fill(self) -> None:
        """All of it."""
        self._models()
        self._cycles()
        self._frames()
        self._modes()
        self._failures()
        self._sightings()
        self._labels()
        self._work()

    def _add(self, table: type[Base], rows: Iterator[dict[str, Any]]) -> None:
        self.session.execute(insert(table), list(rows))

    def _models(self) -> None:
        for number in range(1, self.cycles + 2):
            version = f"{number:064x}"
            self.session.add(
                t.DatasetVersion(id=version, file="none", images=100 * number, boxes=300 * number)
            )
            self.session.flush()
            model = make_model(number, dataset_version_id=version)
            model.class_names = ["background", *CLASSES]
            report = {"map": 0.5, "map50": 0.6, "objects": 300, "found": 200, "missed": 100}
            model.reports = {"holdout": {**report, "false_positives": 9, "images": 100}}
            self.session.add(model)
            self.session.flush()
            if number > self.cycles - 1:
                registry.promote(self.session, model, "gate", {})
        self.champion = registry.require_champion(self.session).id

    def _cycles(self) -> None:
        self._add(
            t.Cycle,
            (
                {
                    "id": n, "policy": "e2x", "budget_boxes": 900, "champion_id": self.champion,
                    "state": "done" if n < self.cycles else "labelling",
                }
                for n in range(1, self.cycles + 1)
            ),
        )  # fmt: skip

    def _image(self, identity: str, role: str, **more: Any) -> dict[str, Any]:
        return {
            "id": identity, "role": role, "file": f"{identity[:2]}/{identity}.jpg",
            "name": f"{identity[:12]}.jpg", "width_px": FRAME_HW[1], "height_px": FRAME_HW[0],
            "perceptual_hash": f"{hash(identity) % 2**64:016x}", "group": "", **more,
        }  # fmt: skip

    def _frames(self) -> None:
        rng = np.random.default_rng(0)
        pictured = min(self.frames, PICTURED // FAILURES_A_FRAME + 1)
        self.frame_ids: list[str] = []
        for number in range(pictured):
            coarse = rng.integers(0, 255, (18, 32, 3), np.uint8)
            picture = coarse.repeat(FRAME_HW[0] // 18, 0).repeat(FRAME_HW[1] // 32, 1)
            stored = put_image(self.context, images.encode_jpeg(picture))
            drive = {"group": f"drive {number % 7}", "file": stored.file}
            self.session.add(t.Image(**self._image(stored.id, t.Role.FIELD, **drive)))
            self.frame_ids.append(stored.id)
            self.drawn = stored.file  # of every image of the pool
        self.session.flush()
        self.frame_ids += [f"{n:063x}f" for n in range(pictured, self.frames)]
        field = (
            self._image(one, t.Role.FIELD, group=f"drive {number // 50}")
            for number, one in enumerate(self.frame_ids)
            if number >= pictured
        )
        many = range(max(self.failures, 300))
        pool = (self._image(f"{n:063x}a", t.Role.POOL, file=self.drawn) for n in many)
        self._add(t.Image, iter([*field, *pool]))
        self._add(t.Observation, ({"image_id": i, "reporter": "anna"} for i in self.frame_ids))

    def _modes(self) -> None:
        self._add(
            t.ModeRow,
            (
                {
                    "id": n, "name": f"missed car {n}", "family": "missed", "label": "car",
                    "opened_cycle_id": 1, "state": ("open", "fixed", "being_fixed")[n % 3],
                }
                for n in range(1, self.modes + 1)
            ),
        )  # fmt: skip

    def _failures(self) -> None:
        def rows() -> Iterator[dict[str, Any]]:
            for n in range(self.failures):
                yield {
                    "id": failure_id(n), "image_id": self.frame_ids[n // FAILURES_A_FRAME],
                    "model_id": self.champion, "state": "fixed" if n % 5 == 4 else "explained",
                    "fixed_by": self.champion if n % 5 == 4 else None,
                    "kind": KINDS[n % 4], "label": CLASSES[n % 3], "mechanism": "background",
                    "box": [100.0, 100.0, 400.0, 300.0], "score": 0.2, "iou": 0.6,
                    "default_box": 3, "truth_index": 0, "place": failure_id(n),
                    "mode_id": None if n % 10 == 9 else 1 + n % self.modes,
                    "created_at": self.now - timedelta(minutes=2 * n),
                }  # fmt: skip

        self._add(t.FailureRow, rows())
        arrays = {
            "segments": np.arange(64, dtype=np.int32).reshape(8, 8).repeat(40, 0).repeat(40, 1),
            "values": np.linspace(-1, 1, 64, dtype=np.float32),
            "standard_errors": np.zeros(64, np.float32),
        }
        write_npz(self.context.project.explanations / "one.npz", **arrays)
        region = {"box": [0.0, 0.0, 80.0, 60.0], "weight": 1.0}
        self._add(
            t.Explanation,
            (
                {
                    "id": failure_id(n), "failure_id": failure_id(n), "method": "gp_shap",
                    "encoder_version": "none", "file": "one.npz", "regions": [region],
                    "score": 0.2, "baseline_score": 0.0, "seconds": 0.5,
                }
                for n in range(self.failures)
            ),
        )  # fmt: skip

    def _sightings(self) -> None:
        def rows() -> Iterator[dict[str, Any]]:
            for cycle in range(1, self.cycles + 1):
                for mode in range(1, self.modes + 1):
                    own = range(mode - 1, self.failures, self.modes)
                    yield {
                        "id": (cycle - 1) * self.modes + mode, "cycle_id": cycle, "mode_id": mode,
                        "key": f"{cycle}-{mode}", "kind": "false_negative", "size": len(own),
                        "exemplars": [failure_id(n) for n in own[:4]],
                    }  # fmt: skip

        self._add(t.ModeSighting, rows())
        # Each of the last cycles saw most failures again.
        last = range(max(0, self.cycles - 3), self.cycles)
        self._add(
            t.ModeMember,
            (
                {"sighting_id": c * self.modes + 1 + n % self.modes, "failure_id": failure_id(n)}
                for c in last
                for n in range(self.failures)
            ),
        )

    def _labels(self) -> None:
        box = [10.0, 10.0, 50.0, 50.0]
        objects = [{"box": box, "label": "car", "ignore": False}]
        self._add(
            t.Annotation,
            (
                {"id": n + 1, "image_id": f"{n:063x}a", "objects": objects, "author": "anna"}
                for n in range(self.tasks)
            ),
        )
        self._add(
            t.CandidateRow,
            (
                {
                    "cycle_id": 1 + n % self.cycles, "image_id": f"{n:063x}a",
                    "mode_id": 1 + n % self.modes, "failure_id": failure_id(n % self.failures),
                    "rank": n, "score": 0.9, "reasons": [{"box": box, "similarity": 0.9}],
                }
                for n in range(self.tasks)
            ),
        )  # fmt: skip
        self._add(
            t.LabelTask,
            (
                {
                    "id": n + 1, "cycle_id": 1 + n % self.cycles, "image_id": f"{n:063x}a",
                    "state": ("submitted", "waiting", "disputed")[n % 3], "priority": float(n),
                    "annotation_id": n + 1 if n % 3 == 0 else None,
                    "prelabels": [{"box": box, "label": "car", "score": 0.7}],
                    "reason": {"text": "resembles a missed car", "mode": "missed car 1"},
                }
                for n in range(self.tasks)
            ),
        )  # fmt: skip
        self._add(
            t.SecondLook,
            (
                {
                    "task_id": n + 1, "state": "disputed" if n % 3 == 2 else "agreed",
                    "first": objects, "first_author": ("anna", "bert")[n % 2], "first_token": 1,
                    "second": objects, "second_author": "carl", "second_token": 2,
                    "counts": {"car": [1, 0, 0, 1, 1]},
                }
                for n in range(0, self.tasks)
                if n % 3 != 1
            ),
        )  # fmt: skip

    def _work(self) -> None:
        trouble = "Traceback (most recent call last):\n" + 30 * "  a line of it\n"
        self._add(
            t.Unit,
            (
                {
                    "kind": "scan", "queue": "explain", "error": None, "error_code": None,
                    "payload": {"images": [n]}, "key": f"scan:{n}", "cycle_id": 1,
                    "state": "done" if n % 50 else "dead",
                }
                | ({} if n % 50 else {"error": trouble, "error_code": "broken"})
                for n in range(2 * self.failures)
            ),
        )  # fmt: skip
        self._add(
            t.Audit,
            (
                {
                    "actor": "anna", "door": "web", "action": "task.answer",
                    "subject": f"task:{n}", "detail": {"boxes": 3},
                }
                for n in range(self.failures)
            ),
        )  # fmt: skip
        self._add(
            t.Decision,
            (
                {
                    "kind": "strike_image", "image_id": f"{n:063x}a", "note": "blurred",
                    "actor": "cora", "detail": {},
                }
                for n in range(-(-self.failures // 50))
            ),
        )  # fmt: skip
        self._add(
            t.User,
            (
                {"name": f"person {n}", "name_key": f"person {n}", "role": "labeller"}
                for n in range(-(-self.failures // 50))
            ),
        )


def _plan(session: Session, context: Context, failures: int) -> t.PlanRow:
    """The plan of this moment, as a worker would have computed it."""
    modes = list(session.scalars(select(t.ModeRow).order_by(t.ModeRow.id)))
    images_of = list(session.scalars(select(t.Image.id).where(t.Image.role == t.Role.POOL)))
    candidates = [
        {
            "image": one, "score": 1.0, "mode": f"{modes[n % len(modes)].id:x}", "share": "modes",
            "cost_boxes": 2, "reason": "resembles a missed car", "failure": failure_id(0),
            "said": [], "matches": [{"query": 0, "box": [1, 1, 99, 99], "similarity": 0.9}],
        }
        for n, one in enumerate(images_of[: -(-failures // 3)])
    ]  # fmt: skip
    many = len(candidates)
    shown = [
        {
            "key": f"{mode.id:x}", "id": mode.id, "name": mode.name, "family": mode.family,
            "kind": "false_negative", "label": mode.label, "state": mode.state, "why": "",
            "struck": False, "failures": -(-failures // len(modes)), "weights": [1.0],
            "exemplars": [failure_id(n) for n in range(min(3, failures))],
            "images": many // len(modes), "boxes": 2 * (many // len(modes)),
        }
        for mode in modes
    ]  # fmt: skip
    now = plans.standing(session, context)
    return t.PlanRow(
        id=now.id,
        champion_id=registry.require_champion(session).id,
        policy=now.terms.policy,
        seed=now.terms.seed,
        budget_boxes=now.terms.budget_boxes,
        content={
            "modes": shown, "candidates": candidates, "images": many, "boxes": 2 * many,
            "shares": {"modes": many}, "frames_with_truth": 0, "frames_judging": 0,
            "scored": 1, "unlooked": 3, "note": "",
        },
        members={mode["key"]: [failure_id(n) for n in range(failures)] for mode in shown[:1]},
    )  # fmt: skip
