"""All tables in one place, so that migrations and tests see every one of them."""

from services.db.base import Base
from services.db.data import (
    EVALUATION_ROLES,
    Annotation,
    DatasetVersion,
    Image,
    Model,
    ModelState,
    Observation,
    Role,
)
from services.db.loop import (
    FINISHED_CYCLES,
    OPEN_TASKS,
    TAKEN_BACK,
    CandidateRow,
    Cycle,
    CycleState,
    Embedding,
    Explanation,
    FailureRow,
    FailureState,
    LabelTask,
    TaskState,
)
from services.db.modes import ModeMember, ModeRow, ModeSighting
from services.db.work import TERMINAL, Audit, Outbox, Pointer, Unit, UnitState

__all__ = [
    "EVALUATION_ROLES",
    "FINISHED_CYCLES",
    "OPEN_TASKS",
    "TAKEN_BACK",
    "TERMINAL",
    "Annotation",
    "Audit",
    "Base",
    "CandidateRow",
    "Cycle",
    "CycleState",
    "DatasetVersion",
    "Embedding",
    "Explanation",
    "FailureRow",
    "FailureState",
    "Image",
    "LabelTask",
    "ModeMember",
    "ModeRow",
    "ModeSighting",
    "Model",
    "ModelState",
    "Observation",
    "Outbox",
    "Pointer",
    "Role",
    "TaskState",
    "Unit",
    "UnitState",
]
