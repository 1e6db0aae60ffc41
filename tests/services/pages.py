"""Projects for the tests of the pages: real pictures, tasks, and who is signed in."""

from __future__ import annotations

import re
from datetime import timedelta
from io import BytesIO
from typing import Any

import httpx
import numpy as np
from PIL import Image as Pillow
from sqlalchemy import select
from sqlalchemy.orm import Session

from benchmarks.common.projects import make_model, make_unit
from benchmarks.common.waiting import PATIENCE
from services.accounts import login, users
from services.api.app import create_app
from services.api.auth import session_cookie
from services.context import Context
from services.db.base import utc_now
from services.db.tables import (
    Annotation,
    Audit,
    CandidateRow,
    Cycle,
    CycleState,
    DatasetVersion,
    FailureRow,
    GeneratedRow,
    HarmRow,
    Image,
    LabelTask,
    Model,
    ModeMember,
    ModeRow,
    ModeSighting,
    Observation,
    Role,
    SampleState,
    UserRole,
)
from services.store.storage import put_image, write_npz
from tests.services.builders import add_champion, make_explanation, make_failure

SIZE = (160, 120)
CLASSES = ["background", "car", "bus"]
HOSTILE = "<script>alert(1)</script>\"'&\u202egnp.exe"
"""Markup, quotes and a mark that turns the direction of what follows."""


def png(number: int, size: tuple[int, int] = SIZE) -> bytes:
    """A picture that no other number gives."""
    noise = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), np.uint8)
    out = BytesIO()
    Pillow.fromarray(noise).save(out, "png")
    return out.getvalue()


def add_picture(
    session: Session, context: Context, number: int, role: Role = Role.POOL, **values: Any
) -> Image:
    """A stored picture with its row."""
    stored = put_image(context, png(number))
    image = Image(
        **{
            "id": stored.id,
            "role": role,
            "file": stored.file,
            "name": f"{number}.png",
            "width_px": stored.width_px,
            "height_px": stored.height_px,
            "perceptual_hash": stored.perceptual_hash,
            **values,
        }
    )
    session.add(image)
    session.flush()
    return image


def add_tasks(context: Context, count: int, **reason: Any) -> list[int]:
    """A champion whose cycle waits for labels of so many images; the tasks, urgent ones first."""
    with context.sessions.begin() as session:
        champion = add_champion(session)
        champion.class_names = CLASSES
        cycle = Cycle(
            policy="random",
            budget_boxes=1000,
            champion_id=champion.id,
            state=CycleState.LABELLING,
        )
        session.add(cycle)
        session.flush()
        tasks = []
        for number in range(count):
            image = add_picture(session, context, 1000 + number)
            tasks.append(
                LabelTask(
                    cycle_id=cycle.id,
                    image_id=image.id,
                    priority=float(count - number),
                    prelabels=[{"box": [20.0, 20.0, 60.0, 50.0], "label": "car", "score": 0.7}],
                    reason={"text": "resembles a missed car", "mode": "missed car 1", **reason},
                )
            )
        session.add_all(tasks)
        session.flush()
        return [task.id for task in tasks]


def add_field(context: Context, count: int, text: str = "car") -> None:
    """Failures of the champion in one frame, in modes, explained, asked for, answered; models.

    Args:
        context: of an empty project.
        count: failures, modes, models, dataset versions, units and tasks.
        text: class, reporter, frame, drive, author, reason, error: whatever strangers name.
    """
    with context.sessions.begin() as session:
        champion = add_champion(session)
        champion.class_names = ["background", text]
        frame = add_picture(session, context, 1, Role.FIELD, name=text, group=text, source=text)
        session.add(Observation(image_id=frame.id, reporter=text))
        session.add(Annotation(image_id=frame.id, author=text, source="person"))
        session.add(
            Cycle(
                policy="modes", budget_boxes=9, champion_id=champion.id, state=CycleState.LABELLING
            )
        )
    add_rows(context, range(1, count + 1), text)


def add_rows(context: Context, numbers: range, text: str = "car") -> None:
    """One of everything of :func:`add_field` for each number."""
    with context.sessions.begin() as session:
        cycle = session.scalars(select(Cycle)).one()
        champion = session.scalars(select(Model).where(Model.number == 1)).one()
        frame = session.scalars(select(Image).where(Image.role == Role.FIELD)).one()
        for number in numbers:
            _add_one(session, context, number, text, cycle, frame, champion)


def _add_one(
    session: Session,
    context: Context,
    number: int,
    text: str,
    cycle: Cycle,
    frame: Image,
    champion: Model,
) -> None:
    """One of everything."""
    mode = ModeRow(
        name=f"missed {text} {number}", family="missed", label=text, opened_cycle_id=cycle.id
    )
    session.add(mode)
    session.flush()
    failure = make_failure(number, frame, champion, label=text, mode_id=mode.id)
    failure.created_at = utc_now() - timedelta(minutes=number)
    pool = add_picture(session, context, 100 + number, name=text)
    session.add(failure)
    session.flush()
    file = f"{number}.npz"
    arrays = {
        "segments": np.arange(4, dtype=np.int32).reshape(2, 2),
        "values": np.array([1.0, -1.0, 0.0, 0.2], np.float32),
        "standard_errors": np.zeros(4, np.float32),
    }
    write_npz(context.project.explanations / file, **arrays)
    regions = [{"box": [0.0, 0.0, 80.0, 60.0], "weight": 1.0, "only_with": None}]
    match = {"box": [10.0, 10.0, 50.0, 50.0], "similarity": 0.9, "failure": failure.id}
    sighting = ModeSighting(
        cycle_id=cycle.id, mode_id=mode.id, key=f"{number}", kind="false_negative", size=number,
        exemplars=[failure.id],
    )  # fmt: skip
    version = DatasetVersion(
        id=f"{number:08x}{0:056x}", file="none", images=number, boxes=2 * number
    )
    challenger = make_model(number + 1, dataset_version_id=version.id, cycle_id=cycle.id)
    figures = {"map": 0.5, "map50": 0.6, "objects": 3, "found": 2, "per_class50": {text: 0.6}}
    challenger.reports = {"holdout": figures}
    answer = Annotation(
        image_id=pool.id, author=text, objects=[{"box": [1, 1, 9, 9], "label": text}]
    )
    session.add_all([version, answer, sighting])
    session.flush()
    add_sample(session, context, number, text, failure, pool)
    session.add_all(
        [
            make_explanation(failure, file=file, regions=regions, method=text[:32]),
            challenger,
            ModeMember(sighting_id=sighting.id, failure_id=failure.id),
            CandidateRow(
                cycle_id=cycle.id, image_id=pool.id, mode_id=mode.id, failure_id=failure.id,
                rank=number, score=0.9, reasons=[match],
            ),
            LabelTask(
                cycle_id=cycle.id, image_id=pool.id, state="waiting", priority=float(number),
                prelabels=[{"box": [20.0, 20.0, 60.0, 50.0], "label": text, "score": 0.7}],
                reason={"text": text, "mode": mode.name, "failure": failure.id, "matches": [match]},
            ),
            make_unit(
                key=f"scan:{number}", state="dead", error=f"Traceback\n{text}", error_code="broken"
            ),
            Audit(actor=text, action="dismiss", subject=f"failure:{failure.id}",
                  detail={"note": text}),
            Audit(actor="gate", action="mode", subject=f"mode:{mode.id}",
                  detail={"cycle": cycle.id, "to": "open", "why": text}),
        ]
    )  # fmt: skip


def add_sample(
    session: Session,
    context: Context,
    number: int,
    text: str,
    failure: FailureRow,
    donor: Image,
    state: SampleState = SampleState.DRAWN,
) -> GeneratedRow:
    """A drawn sample with its picture, which waits for a person."""
    made = add_picture(session, context, 500 + number, Role.GENERATED, name=text)
    cycle_id = session.scalars(select(Cycle.id)).first()
    harm = HarmRow(
        id=f"{number:064x}", image_id=failure.image_id, failure_id=failure.id,
        box=[40.0, 30.0, 80.0, 60.0], label=text, light=True,
        mask={"size": [SIZE[1], SIZE[0]], "counts": [2400, 4800, 12000]},
    )  # fmt: skip
    session.add(harm)
    session.flush()
    row = GeneratedRow(
        key=f"{number:064x}", cycle_id=cycle_id, mode_id=failure.mode_id, failure_id=failure.id,
        model_id=failure.model_id, image_id=made.id, harm_id=harm.id, donor_id=donor.id,
        donor_box=[20.0, 20.0, 60.0, 50.0], staging="surround", generator="compose",
        generator_version="1", parameters={"said": text}, seed=number, score_before=0.9,
        score_after=0.2, state=state, reason=text, decided_by=text[:120],
        checks=[{"name": "integrity", "value": 0.0, "bound": 0.0, "passed": True, "reason": text}],
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row


def sign_in(app: Any, name: str = "anna", role: str = "labeller") -> str:
    """Sign somebody in who is there, or is made; the cookie."""
    context: Context = app.state.context
    with context.sessions.begin() as session:
        user = users.lookup(session, name)
        user = user or users.add(session, context.settings, name, UserRole(role), None)
        session.flush()
        made = login.begin(session, context.settings, user, "test")
    return f"{session_cookie(context.settings)}={made.session_id}"


class Door:
    """The pages and the API of a project, by role."""

    def __init__(self, context: Context, switch: Any, url: str) -> None:
        self.url = url
        self.app = switch.app = create_app(context)

    def as_(self, role: str) -> httpx.Client:
        name, _, value = sign_in(self.app, role, role).partition("=")
        headers = {"accept": "text/html"}
        client = httpx.Client(
            base_url=self.url, cookies={name: value}, headers=headers, timeout=60 * PATIENCE
        )
        found = re.search(r'name="csrf" content="([^"]+)"', client.get("/help").text)
        assert found is not None
        client.headers["X-CSRF-Token"] = found[1]
        return client
