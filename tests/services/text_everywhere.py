"""A project in which everything that strangers may name holds markup and another direction."""

from __future__ import annotations

from sqlalchemy import select, update

from benchmarks.common.projects import make_unit
from services.context import Context
from services.db.base import utc_now
from services.db.tables import (
    ApiToken,
    AskedExplanation,
    Audit,
    Cycle,
    Decision,
    FailureRow,
    Image,
    LabelTask,
    LookState,
    Model,
    ModeRow,
    Neighbours,
    Observation,
    Role,
    SecondLook,
    TaskState,
    UnitState,
    User,
    UserRole,
)
from tests.services.pages import HOSTILE, add_field
from tests.services.test_web_plan import by_hand

RIGHT_TO_LEFT = "שלום"
TEXT = f"{RIGHT_TO_LEFT} {HOSTILE}"
"""A word that is written from the right, then what a browser would obey."""
FIRST = f"{1:064x}"
PAGES = (
    *("/", "/failures", f"/failures/{FIRST}", f"/failures/{FIRST}/analysis"),
    *(f"/failures/{FIRST}/explanations", f"/failures/{FIRST}/neighbours"),
    *(f"/failures/{2:064x}", f"/failures?drive={RIGHT_TO_LEFT}", "/modes", "/modes/1", "/modes/2"),
    *("/modes/1/split", "/plan", "/plan?mode=ab", "/models", "/models/1", "/models/2", "/looks"),
    *("/looks/1", "/looks/2", "/data", f"/data/{1:08x}{0:056x}", "/work", "/work?state=dead"),
    *("/settings", "/account", "/users", "/audit", "/help", "/label"),
    *(f"/audit?who={RIGHT_TO_LEFT}", f"/failures/{RIGHT_TO_LEFT}<script>"),
)
"""Every page that shows something, the last of them that something is not there."""


def fill(context: Context) -> None:
    """Rows of every kind that a page shows; whoever looks is an admin called ``anna``."""
    add_field(context, 3, TEXT)
    with context.sessions.begin() as session:
        now = utc_now()
        image = session.scalars(select(Image.id).where(Image.role == Role.POOL)).first()
        unit = make_unit(
            kind="explain_asked", key="asked:1", state=UnitState.DEAD, error=f"Traceback\n{TEXT}"
        )
        other = make_unit(
            kind="neighbours", key="near:1", state=UnitState.DEAD, error=f"Traceback\n{TEXT}"
        )
        session.add_all([unit, other])
        session.flush()
        asked = {"label": TEXT, "passes": 9, "failure_id": FIRST, "asked_by": TEXT}
        decided = {"note": TEXT, "actor": TEXT}
        objects = [{"box": [1.0, 1.0, 9.0, 9.0], "label": TEXT}]
        answers = {"first": objects, "first_author": TEXT, "first_token": 1, "second_author": TEXT}
        counts = {TEXT: [0, 0, 0, 1, 0]}
        session.add_all(
            [
                AskedExplanation(
                    id="a" * 64, question="class", method="lime", unit_id=unit.id, **asked
                ),
                AskedExplanation(
                    id="b" * 64, question="left", method="gp_shap", file="lost.npz",
                    words=[TEXT], agreement={"method": TEXT, "spearman": 0.5, "top": 0.5}, **asked
                ),
                Neighbours(failure_id=FIRST, found=None, unit_id=other.id),
                Neighbours(
                    failure_id=f"{2:064x}", note=TEXT, found=[
                        {"image": image, "box": [1, 1, 9, 9], "similarity": 0.5, "region": 1}
                    ],
                ),
                Decision(kind="strike_image", image_id=image, **decided),
                Decision(
                    kind="rename", mode_id=1, detail={"before": TEXT, "name": TEXT}, **decided
                ),
                Decision(
                    kind="split", mode_id=1, **decided,
                    detail={"places": [FIRST], "name": TEXT, "made": None},
                ),
                Decision(
                    kind="merge", mode_id=1, detail={"modes": [3]}, undone_at=now, undone_by=TEXT,
                    **decided,
                ),
                SecondLook(
                    task_id=1, state=LookState.DISPUTED, second=[], counts=counts, **answers
                ),
                SecondLook(
                    task_id=2, state=LookState.SETTLED, taken="reject", settled_by=TEXT,
                    settled_at=now, note=TEXT, counts=counts, **answers,
                ),
                User(name=TEXT, name_key=TEXT, role=UserRole.ADMIN),
                Audit(actor=TEXT, door="web", action="dismiss", subject=f"failure:{FIRST}",
                      detail={"note": TEXT, "method": TEXT}),
                Audit(actor=TEXT, door="web", action="promote", subject=f"model:{2:064x}",
                      detail={"reason": TEXT}),
            ]
        )  # fmt: skip
        for task_id, state in ((1, TaskState.DISPUTED), (2, TaskState.REJECTED)):
            session.get_one(LabelTask, task_id).state = state
        held = session.get_one(LabelTask, 3)
        held.state, held.owner, held.lease_until = TaskState.LEASED, TEXT, now
        cycle = session.scalars(select(Cycle)).one()
        cycle.error = cycle.note = TEXT
        cycle.trigger = "person"
        check = {"name": TEXT, "passed": False, "reason": TEXT, "champion": 1.0, "challenger": 0.5}
        cycle.decision = {"promote": False, "checks": [{**check, "bound": 0.1}]}
        session.execute(update(FailureRow).values(predicted_label=TEXT, kind="wrong_class"))
        session.execute(update(Model).where(Model.number == 2).values(architecture=TEXT[:64]))
        session.execute(update(Observation).values(reporter=TEXT))
        session.execute(update(ModeRow).where(ModeRow.id == 2).values(name=TEXT))
    with context.sessions.begin() as session:
        who = session.scalars(select(User).where(User.name == TEXT)).one()
        session.add(
            ApiToken(user_id=who.id, name=TEXT, key="k", role=who.role, expires_at=utc_now())
        )
    by_hand(context, 3, TEXT)
