"""What ``e2x explain`` is asked about: image, model, and the boxes in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from curation import images
from curation.candidates import FailureRules
from curation.superpixels import SegmentArray, segment
from curation.types import Box, Detections, ImageArray, Truth
from services import explaining, science
from services.cli.common import opened
from services.errors import InvalidRequest, NotFound
from services.explaining import Subject
from services.project import Project
from services.settings import PROJECT_FILE, Settings

if TYPE_CHECKING:
    from retrain.detector import SsdDetector

FORM = "X1,Y1,X2,Y2:LABEL"


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One image, one detector, and what is asked about them.

    Attributes:
        file: the image.
        image: [H, W, 3] uint8.
        identity: hash of the file.
        model: how the model was named.
        detector: ready to run.
        subjects: what to explain; may be empty.
        candidates: detections down to the lowest threshold.
        truth_boxes: of annotated objects, px of the image.
        nothing: why there is no subject.
    """

    file: Path
    image: ImageArray
    identity: str
    model: str
    detector: SsdDetector
    subjects: tuple[Subject, ...]
    candidates: Detections
    truth_boxes: tuple[Box, ...] = ()
    nothing: str = ""

    @property
    def name(self) -> str:
        """Of the image, without folder and suffix."""
        return self.file.stem

    @property
    def heading(self) -> str:
        """Image and architecture."""
        return f"{self.name}, {self.detector.config.architecture}"

    def first(self, count: int | None) -> Question:
        """The same with at most so many subjects."""
        return replace(self, subjects=self.subjects[:count])

    def segments(self, settings: Settings) -> SegmentArray:
        """Superpixels of the image; in a project they are kept."""
        from services.segments import segments_of

        wanted = settings.explanation
        size_hw = self.detector.input_size_hw
        if not in_project(settings):
            return segment(self.image, size_hw, wanted.num_segments, wanted.segmentation)
        cache = Project(settings.resolved_project()).segments
        return segments_of(
            cache, self.identity, self.image, size_hw, wanted.num_segments, wanted.segmentation
        )


def in_project(settings: Settings) -> bool:
    """Whether there is a project here."""
    return (settings.resolved_project() / PROJECT_FILE).is_file()


def ask(
    settings: Settings,
    file: Path,
    model: str,
    targets: Sequence[str],
    box: Box | None,
    label: str,
    truth: Path | None,
    every: bool,
) -> Question:
    """Read the image, load the model, find what to explain.

    Raises:
        InvalidRequest: options contradict each other, or a box, label or model cannot be.
        NotFound: image, model or annotations are not there.
        ImageUnreadable: the file is no image that can be used.
        CheckpointCorrupt: the model folder is damaged.
    """
    if sum(map(bool, (targets or box or label, truth, every))) > 1:
        raise InvalidRequest("say one of --target or --box with --label, --truth, --all")
    if (box is None) != (not label):
        raise InvalidRequest("--box and --label belong together")
    wanted = [_parsed(text) for text in targets]
    if box is not None:
        wanted.append((box, label))
    file = file.expanduser()
    if not file.is_file():
        raise NotFound(f"{file}: {'a folder, not an image' if file.is_dir() else 'no such file'}")
    data = file.read_bytes()
    image = images.decode(data, science.image_limits(settings), file.name)
    for corners, _ in wanted:
        _require_inside(corners, image)
    annotated = None if truth is None else _annotated(truth, file)
    name, detector = _model(settings, model)
    rules = science.failure_rules(settings)
    found = detector.predict([image], rules.fn_floor)[0]
    asked = Question(
        file, image, images.content_hash(data), name, detector, (), found, nothing=_none(rules)
    )
    names = detector.class_names
    if wanted:
        proposals = detector.propose([image])[0]
        labels = [_label(word, names) for _, word in wanted]
        subjects = [
            explaining.of_box(corners, label, found, proposals, names, rules)
            for (corners, _), label in zip(wanted, labels, strict=True)
        ]
        return replace(asked, subjects=tuple(subjects))
    if annotated is not None:
        return _wrong(asked, annotated, settings)
    shown = found.above(rules.score_threshold)
    return replace(asked, subjects=tuple(explaining.of_detections(shown, names)))


def _none(rules: FailureRules) -> str:
    return (
        f"nothing is detected at the working threshold of {rules.score_threshold:g}; these come "
        f"closest, down to {rules.fn_floor:g}:"
    )


def _wrong(asked: Question, annotated: list[tuple[Box, str, bool]], settings: Settings) -> Question:
    """The failures against the truth."""
    names = asked.detector.class_names
    rows = [entry for entry in annotated if entry[1] in names]
    boxes = tuple(entry[0] for entry in rows)
    truth = Truth(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([names.index(entry[1]) for entry in rows], np.int64),
        np.array([entry[2] for entry in rows], np.bool_),
    )
    proposals = asked.detector.propose([asked.image])[0]
    subjects = explaining.of_truth(
        truth, asked.candidates, proposals, names, science.failure_rules(settings)
    )
    right = f"all {len(rows)} annotated objects are found and nothing else; --all explains them"
    return replace(asked, subjects=tuple(subjects), truth_boxes=boxes, nothing=right)


def _annotated(source: Path, file: Path) -> list[tuple[Box, str, bool]]:
    from services.cli.truth import read_truth

    words = read_truth(source.expanduser(), 0.0).of(file)
    result = []
    for entry in words.objects or []:
        x1, y1, x2, y2 = (float(value) for value in entry["box"])
        result.append(((x1, y1, x2, y2), str(entry["label"]), bool(entry.get("ignore"))))
    return result


def _model(settings: Settings, name: str) -> tuple[str, SsdDetector]:
    """The champion, a model by number or id, or a folder."""
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return str(folder), science.load_detector(folder, settings)
    if not in_project(settings):
        said = f"no model folder {name!r}, and " if name else ""
        raise NotFound(
            f"{said}no project here to take a model from: name a folder with "
            "model.safetensors and config.json by --model, or a project by --project"
        )
    from services import registry
    from services.db.engine import reading

    with opened() as context, reading(context.sessions) as session:
        row = registry.find(session, name) if name else registry.require_champion(session)
        number, folder = row.number, context.project.root / row.folder
    return f"model {number}", science.load_detector(folder, settings)


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


def _require_inside(box: Box, image: ImageArray) -> None:
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    if not (np.isfinite(box).all() and x1 < x2 and y1 < y2):
        raise InvalidRequest(f"box {_text(box)} is empty: expected x1 < x2 and y1 < y2")
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        raise InvalidRequest(f"box {_text(box)} lies outside the image of {width}x{height} px")


def _text(box: Box) -> str:
    return ",".join(f"{value:g}" for value in box)


def _label(word: str, names: Sequence[str]) -> int:
    if word not in names[1:]:
        raise InvalidRequest(f"no class {word!r}: the model knows {', '.join(names[1:])}")
    return names.index(word)
