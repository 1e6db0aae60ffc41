"""The same boxes in the same ten images cost no more here than in Label Studio's editor.

``pytest -s`` prints the tables of docs/labelling.md; ``E2X_PAUSES=1`` makes the labeller as slow as
a person, so that the machine works ahead meanwhile.
"""

from __future__ import annotations

import os
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw
from sqlalchemy import select

from benchmarks.common.projects import make_context
from services.api.app import create_app
from services.context import Context
from services.db.tables import Annotation, Connection, Cycle, CycleState, Image, LabelTask, Role
from services.store.storage import put_image
from tests.services.api_server import Switch
from tests.services.browser import person
from tests.services.builders import add_champion
from tests.services.label_effort import (
    BOXES,
    CLASSES,
    HEAD,
    IMAGES,
    SIZE,
    Effort,
    Hands,
    Scene,
    by_each,
    label_here,
    label_there,
    proposed,
    scenes,
)
from tests.services.label_studio_server import PASSWORD, Server
from tests.services.pages import sign_in
from tests.services.test_label_studio import connected, second_database

pytestmark = pytest.mark.timeout(600)
PAUSES = float(os.environ.get("E2X_PAUSES", "0"))
COLOURS = {"car": (200, 60, 60), "bus": (60, 170, 60), "van": (60, 90, 220)}


def picture(number: int, scene: Scene) -> bytes:
    """Its objects as rectangles on a grey ground that no other picture has."""
    drawn = Pillow.new("RGB", SIZE, (110, 110, 110))
    pen = ImageDraw.Draw(drawn)
    pen.text((4, 4), f"image {number}", (255, 255, 255))
    for one in scene.objects:
        pen.rectangle([*one.box], COLOURS[one.label])
    out = BytesIO()
    drawn.save(out, "png")
    return out.getvalue()


def ask(context: Context, of: list[Scene]) -> dict[int, Scene]:
    """Ten images to label; what is there and proposed by task, the most urgent first."""
    of_task = {}
    with context.sessions.begin() as session:
        champion = add_champion(session)
        champion.class_names = ["background", *CLASSES]
        cycle = Cycle(
            policy="random", budget_boxes=1000, champion_id=champion.id, state=CycleState.LABELLING
        )
        session.add(cycle)
        session.flush()
        for number, scene in enumerate(of):
            stored = put_image(context, picture(number, scene))
            image = Image(
                id=stored.id, role=Role.POOL, file=stored.file, name=f"{number}.png",
                width_px=stored.width_px, height_px=stored.height_px,
                perceptual_hash=stored.perceptual_hash,
            )  # fmt: skip
            session.add(image)
            session.flush()
            task = LabelTask(
                cycle_id=cycle.id, image_id=image.id, priority=float(-number),
                prelabels=[one.to_dict() for one in scene.proposals],
            )  # fmt: skip
            session.add(task)
            session.flush()
            of_task[task.id] = scene
    return of_task


def drawn(context: Context) -> dict[str, list[Any]]:
    """What was stored, by image: boxes rounded to whole px, and classes."""
    with context.sessions() as session:
        return {
            row.image_id: sorted((*np.round(one["box"]), one["label"]) for one in row.objects)
            for row in session.scalars(select(Annotation))
        }


def same(found: dict[str, list[Any]], context: Context, of_task: dict[int, Scene]) -> None:
    """Whether everything is stored as it was meant, but for the thickness of a pointer."""
    with context.sessions() as session:
        images = {n: session.get_one(LabelTask, n).image_id for n in of_task}
    for number, scene in of_task.items():
        objects = sorted(scene.objects, key=lambda one: one.box)
        boxes = [row[:4] for row in found[images[number]]]
        assert np.abs(np.array(boxes) - [one.box for one in objects]).max() <= 2
        assert [row[4] for row in found[images[number]]] == [one.label for one in objects]


@pytest.mark.parametrize("of", [scenes(), proposed(scenes())], ids=["drawn", "proposed"])
def test_a_box_takes_no_more_here_than_in_label_studio(
    of: list[Scene],
    sqlite_context: Context,
    served: tuple[Switch, str],
    browser: Any,
    tmp_path: Path,
    sqlite_url: str,
    label_studio_server: Server,
) -> None:
    switch, url = served
    of_task = ask(sqlite_context, of)
    switch.app = create_app(sqlite_context)
    with person(browser, url, sign_in(switch.app)) as page:
        page.context.set_default_timeout(60_000)  # as there
        hands = Hands(page, PAUSES)
        label_here(page, hands, of_task)
    here = Effort.of("e2x", hands, IMAGES, IMAGES * BOXES)
    same(drawn(sqlite_context), sqlite_context, of_task)

    other = make_context(tmp_path / "other", second_database(sqlite_url, sqlite_context))
    there_of_task = ask(other, of)
    with other.sessions() as session:
        of_image = {
            session.get_one(LabelTask, number).image_id: scene
            for number, scene in there_of_task.items()
        }
    server = label_studio_server
    with connected(other, server, served) as work:
        with other.sessions() as session:
            project = str(session.get_one(Connection, work.number).project)
        context = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 800})
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.goto("/user/login")
        page.fill("input[name=email]", server.user)
        page.fill("input[name=password]", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(lambda address: "login" not in address)
        hands = Hands(page, PAUSES)
        label_there(page, hands, project, of_image)
        context.close()
        there = Effort.of("Label Studio", hands, IMAGES, IMAGES * BOXES)
        assert work.sync().answers.submitted == IMAGES
    same(drawn(other), other, there_of_task)
    other.engine.dispose()

    sys.stdout.write("\n".join(("", HEAD, here.row, there.row, "", by_each(here, there), "")))
    assert here.of_each.keys() == there.of_each.keys()
    more = {what: acts for what, acts in here.of_each.items() if acts > there.of_each[what]}
    assert more == {}
    assert here.drags == there.drags
    assert here.acts_a_box <= there.acts_a_box
    assert here.seconds <= there.seconds
