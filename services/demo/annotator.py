"""The simulated annotator: owns the hidden truth, answers over the API, makes mistakes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from services.demo.client import check

NAME = "simulated-annotator"
LEASED_AT_ONCE = 1
"""What is leased when the budget is spent may still be answered, and would be trained on or not,
as it happens to come in time."""
JITTER = 0.15
"""A sloppy box is off by up to so much of its side."""


@dataclass(frozen=True, slots=True)
class Annotator:
    """Answers label tasks as a person's tool would.

    Args:
        client: of the API, with its token.
        truth: image hash to its objects ``{"box", "label"}``.
        class_names: that a wrong label is drawn from.
        mistake_rate: share of boxes that are forgotten, mislabelled or sloppy, in 0..1.
        rng: source of the mistakes.
    """

    client: httpx.Client
    truth: dict[str, list[dict[str, Any]]]
    class_names: Sequence[str]
    mistake_rate: float
    rng: np.random.Generator

    def answer_all(self, cycle_id: int, on_answer: Callable[[int], None]) -> int:
        """Answer every open task of a cycle; the number of images labelled."""
        answered = 0
        while True:
            body = {"owner": NAME, "count": LEASED_AT_ONCE, "cycle_id": cycle_id}
            tasks = check(self.client.post("/v1/tasks/lease", json=body)).json()["items"]
            if not tasks:
                return answered
            for task in tasks:
                if not self._answer(task):
                    return answered
                answered += 1
                on_answer(answered)

    def _answer(self, task: dict[str, Any]) -> bool:
        """Submit an answer; False if the task was closed meanwhile, as the budget was spent."""
        objects = self._with_mistakes(self.truth[task["image_id"]])
        body = {"token": task["token"], "objects": objects, "author": NAME}
        response = self.client.post(f"/v1/tasks/{task['id']}/submit", json=body)
        if response.status_code == httpx.codes.CONFLICT:
            return False
        check(response)
        return True

    def _with_mistakes(self, objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
        drawn = []
        for entry in objects:
            wrong = self.rng.random() < self.mistake_rate
            answer = self._mistaken(entry) if wrong else entry
            if answer is not None:
                drawn.append(answer)
        return drawn

    def _mistaken(self, entry: dict[str, Any]) -> dict[str, Any] | None:
        """A forgotten box, a wrong class, or a box that is too small on two sides."""
        kind = self.rng.integers(3)
        if kind == 0:
            return None
        if kind == 1:
            others = [name for name in self.class_names if name != entry["label"]]
            return {**entry, "label": str(self.rng.choice(others))}
        x1, y1, x2, y2 = entry["box"]
        across, down = self.rng.uniform(0, JITTER, 2) * (x2 - x1, y2 - y1)
        return {**entry, "box": [x1 + across, y1 + down, x2, y2]}


def hidden_truth(file: Path, images: Path) -> dict[str, list[dict[str, Any]]]:
    """Objects by image hash, from a COCO file that the service has not been shown."""
    coco = json.loads(file.read_text())
    names = {entry["id"]: entry["name"] for entry in coco["categories"]}
    objects: dict[int, list[dict[str, Any]]] = {entry["id"]: [] for entry in coco["images"]}
    for entry in coco["annotations"]:
        x, y, width, height = entry["bbox"]
        box = [x, y, x + width, y + height]
        objects[entry["image_id"]].append({"box": box, "label": names[entry["category_id"]]})
    return {
        hashlib.sha256((images / entry["file_name"]).read_bytes()).hexdigest(): objects[entry["id"]]
        for entry in coco["images"]
    }
