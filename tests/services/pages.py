"""Projects for the tests of the pages: real pictures, tasks, and who is signed in."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image as Pillow
from sqlalchemy.orm import Session

from services.context import Context
from services.db.tables import Cycle, CycleState, Image, LabelTask, Role
from services.store.storage import put_image
from tests.services.builders import add_champion

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
    stored = put_image(context.project, png(number))
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


def sign_in(app: Any, name: str = "anna", role: str = "labeller") -> str:
    """Sign somebody in; the cookie."""
    return f"e2x_session={app.state.pages.state.people.begin(name, role)}"
