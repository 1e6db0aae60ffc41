"""A scripted labeller: what the same boxes cost on our page and in Label Studio's editor.

They are drawn from nothing, or what a detector proposes is put right. Hands count what they do.
Their time is told by the keystroke-level model, with a fixed seed, and what the machine lets them
wait for is measured.

Source:
    S. K. Card, T. P. Moran and A. Newell, "The keystroke-level model for user performance time with
    interactive systems", Communications of the ACM 23 (1980): times of the operators.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

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


Fault = Literal["right", "shifted", "cut short", "wrong class", "false"]
FAULTS: tuple[Fault, ...] = ("right", "shifted", "cut short", "wrong class", "false")
SHIFT = (12, -25)
SHORT = (20, 16)


@dataclass(frozen=True, slots=True)
class Object:
    """One object that is there: its box in px of the image, and its class."""

    box: Box
    label: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a detector says of an object.

    Attributes:
        box: in px of the image.
        label: its class.
        fault: what is wrong about it.
        truth: the object; None where there is none.
    """

    box: Box
    label: str
    fault: Fault
    truth: Object | None

    @property
    def middle(self) -> tuple[float, float]:
        """Where a hand takes hold of it."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    def to_dict(self) -> dict[str, Any]:
        """As a pre-label."""
        return {"box": [float(side) for side in self.box], "label": self.label, "score": 0.7}


@dataclass(frozen=True, slots=True)
class Scene:
    """One image: what is there, and what is proposed."""

    objects: tuple[Object, ...]
    proposals: tuple[Proposal, ...] = ()

    @property
    def missing(self) -> list[Object]:
        """What has to be drawn."""
        seen = [one.truth for one in self.proposals]
        return [one for one in self.objects if one not in seen]


def scenes(seed: int = 7) -> list[Scene]:
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
        found.append(Scene(tuple(objects)))
    return found


def proposed(of: Sequence[Scene], seed: int = 7) -> list[Scene]:
    """The same images with what a detector proposes.

    Two of five objects are found as they are, one in ten is missing, and each of the faults has its
    share; every second image has a box where nothing is.
    """
    dice = np.random.default_rng(seed)
    kinds = ["right"] * 12 + ["missing"] * 3 + ["shifted", "cut short", "wrong class"] * 5
    count = sum(len(scene.objects) for scene in of)
    faults = iter(dice.permutation(np.array(kinds)[np.arange(count) % len(kinds)]))
    found = []
    for number, scene in enumerate(of):
        proposals = [_proposal(one, str(next(faults))) for one in scene.objects]
        if number % 2:
            proposals.append(_nothing(scene.objects[number % len(scene.objects)]))
        found.append(replace(scene, proposals=tuple(filter(None, proposals))))
    return found


def _proposal(one: Object, fault: str) -> Proposal | None:
    x1, y1, x2, y2 = one.box
    if fault == "missing":
        return None
    if fault == "shifted":
        dx, dy = SHIFT
        return Proposal((x1 + dx, y1 + dy, x2 + dx, y2 + dy), one.label, "shifted", one)
    if fault == "cut short":
        return Proposal((x1, y1, x2 - SHORT[0], y2 - SHORT[1]), one.label, "cut short", one)
    if fault == "wrong class":
        other = CLASSES[(CLASSES.index(one.label) + 1) % len(CLASSES)]
        return Proposal(one.box, other, "wrong class", one)
    return Proposal(one.box, one.label, "right", one)


def _nothing(beside: Object) -> Proposal:
    """A box above or below an object, where there is room."""
    left, top = beside.box[0], 405 if beside.box[3] < 380 else 8
    assert top > beside.box[3] or top + 45 < beside.box[1] + SHIFT[1]
    return Proposal((left, top, left + 50, top + 45), CLASSES[0], "false", None)


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
    acts_for: Counter[str] = field(default_factory=Counter)
    """Everything that was pressed or dragged, by what it was for."""
    times: Counter[str] = field(default_factory=Counter)
    """How often each of these was done."""
    frame: Callable[[], Sequence[float]] = field(default=lambda: (0.0, 0.0, 1.0))
    """Left and top of the image on the screen, and pixels of the screen for one of it."""

    def __post_init__(self) -> None:
        self._dice = np.random.default_rng(self.seed)

    @property
    def acts(self) -> int:
        """Everything that was pressed or dragged."""
        return self.keys + self.clicks + self.drags

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Do one thing, which takes so many acts."""
        before = self.acts
        yield
        self.acts_for[what] += self.acts - before
        self.times[what] += 1

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
    of_each: dict[str, float]
    """Acts that each thing took, by what was done."""

    @classmethod
    def of(cls, where: str, hands: Hands, images: int, boxes: int) -> Effort:
        """Of hands that are done."""
        counts = hands.keys, hands.clicks, hands.drags
        of_each = {what: hands.acts_for[what] / hands.times[what] for what in hands.times}
        return cls(where, images, boxes, *counts, hands.seconds, hands.waited_s, of_each)

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


def by_each(*efforts: Effort) -> str:
    """A table of what each thing took, with a column for each place."""
    head = "| | " + " | ".join(one.where for one in efforts) + " |\n|---|" + "---:|" * len(efforts)
    rows = [
        f"| {what} | " + " | ".join(f"{one.of_each[what]:.2f}" for one in efforts) + " |"
        for what in efforts[0].of_each
    ]
    return "\n".join((head, *rows))


MEND = {
    "right": "leave a box that is right",
    "shifted": "move a box",
    "cut short": "size a box",
    "wrong class": "give a box another class",
    "false": "delete a box",
}
DRAW, SUBMIT = "draw a box", "submit an image"


def label_here(page: Any, hands: Hands, of_task: dict[int, Scene]) -> None:
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
    for number, scene in of_task.items():
        hands.wait(lambda n=number: shown(n))
        for one in scene.missing:
            with hands.doing(DRAW):
                hands.think()
                hands.drag(*one.box)
                if one.label != chosen:
                    hands.press(str(CLASSES.index(one.label) + 1))
                    chosen = one.label
        for proposal in scene.proposals:
            with hands.doing(MEND[proposal.fault]):
                hands.think()
                _mend(hands, proposal, delete="x")
            if proposal.fault == "wrong class":
                chosen = str(proposal.truth and proposal.truth.label)
        with hands.doing(SUBMIT):
            hands.home()
            hands.press("Enter")
    page.locator("#status", has_text="No image waits").wait_for()


def _mend(
    hands: Hands, proposal: Proposal, delete: str, settle: Callable[[], None] = lambda: None
) -> None:
    """Put a proposal right, as it is done at both places.

    Args:
        hands: of the person.
        proposal: what is there.
        delete: the key that deletes the chosen box.
        settle: waits until what was clicked on is chosen.
    """
    truth = proposal.truth
    if truth is None:
        hands.click(*proposal.middle)
        settle()
        hands.press(delete)
    elif proposal.fault == "shifted":
        (x, y), (dx, dy) = proposal.middle, SHIFT
        hands.drag(x, y, x - dx, y - dy)
    elif proposal.fault == "cut short":
        hands.click(*proposal.middle)
        settle()
        hands.drag(*proposal.box[2:], *truth.box[2:])
    elif proposal.fault == "wrong class":
        hands.click(*proposal.middle)
        settle()
        hands.press(str(CLASSES.index(truth.label) + 1))


def label_there(page: Any, hands: Hands, project: str, of_image: dict[str, Scene]) -> None:
    """Label everything in Label Studio's label stream; the person is signed in.

    Args:
        page: of the browser.
        hands: of the person.
        project: its number there.
        of_image: what is there and proposed, by the image's hash.
    """
    regions = "[class*=outliner-item__title]"

    def ready(count: int) -> None:
        if count:
            regions_are(count)
        else:
            page.get_by_text("Labeled regions will appear here").wait_for()
        page.wait_for_function(
            "width => [...document.images].some(one => one.naturalWidth === width) && "
            "document.querySelectorAll('canvas').length > 1",
            arg=SIZE[0],
        )

    def regions_are(count: int) -> None:
        page.wait_for_function(
            "([selector, count]) => document.querySelectorAll(selector).length === count",
            arg=[regions, count],
        )

    def settle() -> None:
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")

    def frame() -> Sequence[float]:
        box = page.locator("canvas[class*=overlay]").bounding_box()
        return box["x"], box["y"], box["width"] / SIZE[0]

    hands.frame = frame
    with page.expect_response(NEXT) as told:
        page.goto(f"/projects/{project}/data?labeling=1")
    for _ in of_image:
        shown = told.value.json()["data"]["image"]
        scene = next(one for image, one in of_image.items() if image in shown)
        count = len(scene.proposals)
        hands.wait(lambda n=count: ready(n))
        for one in scene.missing:
            with hands.doing(DRAW):
                hands.think()
                hands.press(str(CLASSES.index(one.label) + 1))  # it forgets it after each box
                hands.drag(*one.box)
            count += 1
            regions_are(count)
        for proposal in scene.proposals:
            with hands.doing(MEND[proposal.fault]):
                hands.think()
                _mend(hands, proposal, "Backspace", settle)
            count -= proposal.truth is None
            regions_are(count)
        with hands.doing(SUBMIT):
            hands.home()
            with page.expect_response(NEXT) as told:
                hands.press("Control+Enter")
                begun = time.monotonic()
        hands.waited_s += time.monotonic() - begun
    page.get_by_text("No More Tasks Left").wait_for()
