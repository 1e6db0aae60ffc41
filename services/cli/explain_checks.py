"""What ``e2x explain`` is told, checked before anything heavy is loaded: slips answer at once.

Nothing here imports PyTorch, which takes seconds; :mod:`services.cli.explain_targets` goes on with
the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from curation.explain.what import OFFSETS, What
from curation.kernel import images
from curation.kernel.types import Box, ImageArray
from services.cli.common import opened
from services.config import builders
from services.config.settings import PROJECT_FILE, Settings
from services.errors import InvalidRequest, NotFound

FORM = "X1,Y1,X2,Y2:LABEL"
SUFFIXES = (".png", ".jpg", ".jpeg")

Wanted: TypeAlias = tuple[Box, str]
"""A box and the class that is asked about there."""
Why: TypeAlias = tuple[What, str]
"""A number of the detection, and the class that it is about; "": the detection's own, or none."""
Annotated: TypeAlias = tuple[Box, str, bool]
"""Box and class of an annotated object, and whether it is to be ignored."""


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What was asked for, as far as it can be judged without a network.

    Attributes:
        file: the image.
        image: [H, W, 3] uint8.
        identity: hash of the file.
        model: how the model was named.
        model_folder: where it lies.
        wanted: boxes to explain; none where that is left to what is detected or annotated.
        whys: numbers that are asked for instead of the score; none: the score.
        annotated: objects of the image; None where no truth was named.
    """

    file: Path
    image: ImageArray
    identity: str
    model: str
    model_folder: Path
    wanted: tuple[Wanted, ...] = ()
    whys: tuple[Why, ...] = ()
    annotated: tuple[Annotated, ...] | None = None


def check(
    settings: Settings,
    file: Path,
    model: str,
    targets: Sequence[str],
    box: Box | None,
    label: str,
    truth: Path | None,
    every: bool,
    whys: Sequence[str] = (),
) -> Said:
    """Read the image and the annotations, find the model's folder, judge boxes and options.

    Raises:
        InvalidRequest: options contradict each other, or a box cannot be.
        NotFound: image, model or annotations are not there.
        ImageUnreadable: the file is no image that can be used.
        AnnotationsInvalid: the annotations are damaged.
    """
    if sum(map(bool, (targets or box or label, truth, every))) > 1:
        raise InvalidRequest("say one of --target or --box with --label, --truth, --all")
    numbers = tuple(one for text in whys for one in why_of(text))
    if (box is None) != (not label):
        raise InvalidRequest("--box and --label belong together")
    wanted = [_parsed(text) for text in targets]
    if box is not None:
        wanted.append((box, label))
    for corners, _ in wanted:
        _require_area(corners)
    file = file.expanduser()
    if not file.is_file():
        raise NotFound(f"{file}: {'a folder, not an image' if file.is_dir() else 'no such file'}")
    data = file.read_bytes()
    image = images.decode(data, builders.image_limits(settings), file.name)
    for corners, _ in wanted:
        _require_inside(corners, image)
    annotated = None if truth is None else _annotated(truth, file)
    name, folder = _model(settings, model)
    identity = images.content_hash(data)
    return Said(file, image, identity, name, folder, tuple(wanted), numbers, annotated)


def why_of(text: str) -> list[Why]:
    """What one ``--why`` asks for.

    Raises:
        InvalidRequest: nothing that can be asked.
    """
    kind, _, name = text.partition(":")
    if text == "box":
        return [(what, "") for what in OFFSETS]
    if text in tuple(OFFSETS):
        return [(What(text), "")]
    if kind == "class" and (name or ":" not in text):
        return [(What.CLASS, name)]
    if kind == "not" and name:
        return [(What.AGAINST, name)]
    raise InvalidRequest(
        f"--why {text}: expected class:NAME, not:NAME, {', '.join(OFFSETS)}, or box for these four"
    )


def check_output(output: Path | None) -> None:
    """Refuse a picture of a kind that is not written.

    Raises:
        InvalidRequest: another suffix.
    """
    if output is not None and output.suffix.lower() not in SUFFIXES:
        raise InvalidRequest(f"--output {output}: write a {', '.join(SUFFIXES)} file")


def in_project(settings: Settings) -> bool:
    """Whether there is a project here."""
    return (settings.resolved_project() / PROJECT_FILE).is_file()


def _annotated(source: Path, file: Path) -> tuple[Annotated, ...]:
    from services.cli.truth import read_truth

    words = read_truth(source.expanduser(), 0.0).of(file)
    result: list[Annotated] = []
    for entry in words.objects or []:
        x1, y1, x2, y2 = (float(value) for value in entry["box"])
        result.append(((x1, y1, x2, y2), str(entry["label"]), bool(entry.get("ignore"))))
    return tuple(result)


def _model(settings: Settings, name: str) -> tuple[str, Path]:
    """Name and folder of the champion, of a model by number or id, or of a folder."""
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return str(folder), folder
    if not in_project(settings):
        said = f"no model folder {name!r}, and " if name else ""
        raise NotFound(
            f"{said}no project here to take a model from: name a folder with "
            "model.safetensors and config.json by --model, or a project by --project"
        )
    from services.db.engine import reading
    from services.models import registry

    with opened() as context, reading(context.sessions) as session:
        row = registry.find(session, name) if name else registry.require_champion(session)
        return f"model {row.number}", context.project.root / row.folder


def _parsed(text: str) -> tuple[Box, str]:
    """Box and label, in either order."""
    ends = [text.rpartition(":")[::2], text.partition(":")[::-2]]
    for corners, label in ends:
        numbers = _numbers(corners)
        if numbers is not None and label:
            return numbers, label
    raise InvalidRequest(f"--target {text}: expected {FORM}, such as 10,20,80,64:car")


def _numbers(text: str) -> Box | None:
    try:
        x1, y1, x2, y2 = (float(number) for number in text.split(","))
    except ValueError:
        return None
    return (x1, y1, x2, y2)


def _require_area(box: Box) -> None:
    x1, y1, x2, y2 = box
    if not (all(map(math.isfinite, box)) and x1 < x2 and y1 < y2):
        raise InvalidRequest(f"box {_text(box)} is empty: expected x1 < x2 and y1 < y2")


def _require_inside(box: Box, image: ImageArray) -> None:
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        raise InvalidRequest(f"box {_text(box)} lies outside the image of {width}x{height} px")


def _text(box: Box) -> str:
    return ",".join(f"{value:g}" for value in box)
