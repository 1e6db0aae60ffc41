"""A scripted labeller: what drawing the same boxes costs on our page and in Label Studio's editor.

Hands count what they do. Their time is told by the keystroke-level model, with a fixed seed, and
what the machine lets them wait for is measured.

Source:
    S. K. Card, T. P. Moran and A. Newell, "The keystroke-level model for user performance time with
    interactive systems", Communications of the ACM 23 (1980): times of the operators.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

KEY_S, POINT_S, BUTTON_S, HOME_S, THINK_S = 0.28, 1.1, 0.1, 0.4, 1.35
SPREAD = 0.25
"""Of the logarithm of each time: nobody is a clock."""
CLASSES = ("car", "bus", "van")
SIZE = (640, 480)
IMAGES, BOXES = 10, 3
Box = tuple[float, float, float, float]
NEXT = "**/actions?id=next_task**"
"""What Label Studio's label stream asks for."""


@dataclass(frozen=True, slots=True)
class Object:
    """One object to be drawn: its box in px of the image, and its class."""

    box: Box
    label: str


def scenes(seed: int = 7) -> list[list[Object]]:
    """The objects of ten images, which do not touch each other; classes come in runs or not."""
    dice = np.random.default_rng(seed)
    found = []
    for _ in range(IMAGES):
        columns = SIZE[0] // BOXES
        objects = []
        for place in range(BOXES):
            wide, high = (int(value) for value in dice.integers(60, 150, 2))
            left = place * columns + int(dice.integers(15, columns - wide - 15))
            top = int(dice.integers(40, SIZE[1] - high - 20))
            label = CLASSES[int(dice.choice(3, p=(0.6, 0.25, 0.15)))]
            objects.append(Object((left, top, left + wide, top + high), label))
        found.append(objects)
    return found


@dataclass
class Hands:
    """What a person does with keyboard and mouse, counted.

    Args:
        page: of the browser.
        pauses: the times of the model are really waited, so many times as long; 0: they are only
            added up.
        seed: of the times.
    """

    page: Any
    pauses: float = 0.0
    seed: int = 7
    keys: int = 0
    clicks: int = 0
    drags: int = 0
    seconds: float = 0.0
    waited_s: float = 0.0
    frame: Callable[[], Sequence[float]] = field(default=lambda: (0.0, 0.0, 1.0))
    """Left and top of the image on the screen, and pixels of the screen for one of it."""

    def __post_init__(self) -> None:
        self._dice = np.random.default_rng(self.seed)

    @property
    def acts(self) -> int:
        """Everything that was pressed or dragged."""
        return self.keys + self.clicks + self.drags

    def think(self) -> None:
        """Look at something and decide."""
        self._take(THINK_S)

    def press(self, chord: str) -> None:
        """Press a key, or several at once such as ``Control+Enter``: each is one."""
        parts = chord.count("+") + 1
        self._take(*[KEY_S] * parts)
        self.keys += parts
        self.page.keyboard.press(chord)

    def home(self) -> None:
        """Take a hand from the mouse to the keys."""
        self._take(HOME_S)

    def click(self, x: float, y: float) -> None:
        """Click on a point of the image."""
        self._take(POINT_S, 2 * BUTTON_S)
        self.clicks += 1
        self.page.mouse.click(*self._at(x, y))

    def drag(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """Drag from one point of the image to another."""
        self._take(POINT_S, BUTTON_S, POINT_S, BUTTON_S)
        self.drags += 1
        mouse = self.page.mouse
        mouse.move(*self._at(x1, y1))
        mouse.down()
        mouse.move(*self._at((x1 + x2) / 2, (y1 + y2) / 2))
        mouse.move(*self._at(x2, y2))
        mouse.up()

    def wait(self, until: Callable[[], None]) -> None:
        """Wait for the machine."""
        begun = time.monotonic()
        until()
        self.waited_s += time.monotonic() - begun

    def _at(self, x: float, y: float) -> tuple[float, float]:
        left, top, scale = self.frame()
        return left + x * scale, top + y * scale

    def _take(self, *seconds: float) -> None:
        took = float(np.sum(np.asarray(seconds) * self._dice.lognormal(0.0, SPREAD, len(seconds))))
        self.seconds += took
        if self.pauses:
            self.page.wait_for_timeout(1000 * took * self.pauses)


@dataclass(frozen=True, slots=True)
class Effort:
    """What labelling all images has cost, a box and an image."""

    where: str
    images: int
    boxes: int
    keys: int
    clicks: int
    drags: int
    seconds: float
    waited_s: float

    @classmethod
    def of(cls, where: str, hands: Hands, images: int, boxes: int) -> Effort:
        """Of hands that are done."""
        counts = hands.keys, hands.clicks, hands.drags
        return cls(where, images, boxes, *counts, hands.seconds, hands.waited_s)

    @property
    def acts_a_box(self) -> float:
        """Keys, clicks and drags for one box, with all that an image needs besides."""
        return (self.keys + self.clicks + self.drags) / self.boxes

    @property
    def row(self) -> str:
        """A line of the table of the documentation."""
        a_box = f"{self.keys / self.boxes:.2f} | {self.clicks / self.boxes:.2f} | "
        a_box += f"{self.drags / self.boxes:.2f} | {self.acts_a_box:.2f}"
        return (
            f"| {self.where} | {a_box} | {self.seconds / self.images:.1f} s | "
            f"{self.waited_s / self.images:.2f} s |"
        )


HEAD = (
    "| | keys a box | clicks a box | drags a box | together | a person's time an image "
    "| waited for the machine an image |\n|---|---:|---:|---:|---:|---:|---:|"
)


def label_here(page: Any, hands: Hands, of_task: dict[int, list[Object]]) -> None:
    """Label everything on our page."""

    def shown(number: int) -> None:
        page.locator("#status", has_text=f"Image {number}").wait_for()
        page.locator("[data-do=submit]:enabled").wait_for()

    def frame() -> Sequence[float]:
        box = page.locator("#stage svg").bounding_box()
        return box["x"], box["y"], box["width"] / SIZE[0]

    hands.frame = frame
    page.goto("/label")
    chosen = CLASSES[0]  # the class of the next box stays until another is chosen
    for number, objects in of_task.items():
        hands.wait(lambda n=number: shown(n))
        for one in objects:
            hands.think()
            hands.drag(*one.box)
            if one.label != chosen:
                hands.press(str(CLASSES.index(one.label) + 1))
                chosen = one.label
        hands.home()
        hands.press("Enter")
    page.locator("#status", has_text="No image waits").wait_for()


def label_there(page: Any, hands: Hands, project: str, of_image: dict[str, list[Object]]) -> None:
    """Label everything in Label Studio's label stream; the person is signed in.

    Args:
        page: of the browser.
        hands: of the person.
        project: its number there.
        of_image: objects by the image's hash.
    """
    regions = "[class*=outliner-item__title]"

    def ready() -> None:
        page.get_by_text("Labeled regions will appear here").wait_for()
        page.wait_for_function(
            "width => [...document.images].some(one => one.naturalWidth === width) && "
            "document.querySelectorAll('canvas').length > 1",
            arg=SIZE[0],
        )

    def frame() -> Sequence[float]:
        box = page.locator("canvas[class*=overlay]").bounding_box()
        return box["x"], box["y"], box["width"] / SIZE[0]

    hands.frame = frame
    with page.expect_response(NEXT) as told:
        page.goto(f"/projects/{project}/data?labeling=1")
    for _ in of_image:
        shown = told.value.json()["data"]["image"]
        hands.wait(ready)
        objects = next(objects for image, objects in of_image.items() if image in shown)
        for count, one in enumerate(objects, 1):
            hands.think()
            hands.press(str(CLASSES.index(one.label) + 1))  # it forgets the class after each box
            hands.drag(*one.box)
            page.wait_for_function(
                "([selector, count]) => document.querySelectorAll(selector).length >= count",
                arg=[regions, count],
            )
        hands.home()
        with page.expect_response(NEXT) as told:
            hands.press("Control+Enter")
            begun = time.monotonic()
        hands.waited_s += time.monotonic() - begun
    page.get_by_text("No More Tasks Left").wait_for()
