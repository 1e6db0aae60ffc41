"""Detectors that were trained elsewhere: into the registry, beside those that cycles train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from retrain.config import DetectorConfig
from retrain.errors import RetrainError
from services import model_folders, registry, science
from services.classes import BACKGROUND
from services.context import Context
from services.db.engine import reading
from services.db.tables import Model, ModelState
from services.errors import Conflict, InvalidRequest
from services.settings import Settings

if TYPE_CHECKING:
    from retrain.detector import SsdDetector

UNUSED = ("", "N/A")
"""How lists of classes name the numbers that no class has, COCO's among them."""


class DefaultBoxes(StrEnum):
    """Where the default boxes of a network lie that says nothing of it."""

    TORCHVISION = "torchvision"
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be added.

    Attributes:
        path: a model folder, which says what it is, or a file with the weights of a whole network.
        class_names: of a file: in the order of its head, with or without background.
        architecture: of a file; None: the one that is set.
        default_boxes: of a file; None: torchvision's where it has the architecture.
    """

    path: Path
    class_names: tuple[str, ...] = ()
    architecture: str | None = None
    default_boxes: DefaultBoxes | None = None


def read_class_names(given: str) -> tuple[str, ...]:
    """Names with commas between, or a file with one a line.

    Raises:
        InvalidRequest: there is none.
    """
    file = Path(given)
    names = file.read_text().splitlines() if file.is_file() else given.split(",")
    named = tuple(name.strip() for name in names)
    while named and not named[-1]:
        named = named[:-1]
    if not named:
        raise InvalidRequest(f"no class in {given!r}: name them, `--classes car,bus`, or a file")
    return named


def load(source: Source, settings: Settings) -> SsdDetector:
    """The detector that a source holds.

    Raises:
        InvalidRequest: it cannot be read, or is not what it is said to be.
    """
    from retrain.detector import SsdDetector  # loads PyTorch, which asking for help does without
    from retrain.published import from_file

    said = source.class_names or source.architecture or source.default_boxes
    try:
        if source.path.is_dir():
            if said:
                raise InvalidRequest(
                    f"{source.path} is a model folder, which says itself what it is: leave out "
                    "--classes, --architecture and --default-boxes"
                )
            return SsdDetector.load(source.path)
        if not source.path.exists():
            raise InvalidRequest(f"{source.path}: no such file or model folder")
        return from_file(source.path, config_of(source, settings))
    except RetrainError as error:
        raise InvalidRequest(str(error)) from error


def config_of(source: Source, settings: Settings) -> DetectorConfig:
    """What network a file holds, by what was said of it.

    Raises:
        InvalidRequest: nobody said what its classes are, or torchvision has no such network.
        ConfigInvalid: no such architecture, or a class twice.
    """
    from retrain.published import TORCHVISION_ARCHITECTURES, torchvision_config

    if not source.class_names:
        raise InvalidRequest(
            f"{source.path}: a file of weights does not say what its classes are: add `--classes "
            "car,bus` or `--classes FILE` with one a line, in the order of training"
        )
    names = _with_background(source.class_names)
    architecture = source.architecture or settings.detector.architecture
    published = architecture in TORCHVISION_ARCHITECTURES
    wanted = source.default_boxes
    if wanted is DefaultBoxes.TORCHVISION and not published:
        raise InvalidRequest(f"torchvision has no {architecture}: use --default-boxes settings")
    if published and wanted is not DefaultBoxes.SETTINGS:
        return torchvision_config(architecture, names)
    return replace(science.detector_config(settings, names), architecture=architecture)


def add(context: Context, detector: SsdDetector, path: Path, actor: str) -> Model:
    """Put a detector into the registry: as the champion where there is none, else as a challenger.

    Args:
        context: wiring.
        detector: what :func:`load` returned.
        path: where it came from, for the record.
        actor: who adds it, for the audit trail.

    Raises:
        Conflict: it is there already, or lacks a class of the champion.
    """
    with reading(context.sessions) as session:
        _check(session, detector)
    folder = model_folders.keep(context, detector.version, detector.save)
    with context.sessions.begin() as session:
        number = registry.next_number(session)  # first: who adds at the same time has ended then
        _check(session, detector)
        model = Model(
            id=detector.version,
            number=number,
            state=ModelState.CHALLENGER,
            folder=folder,
            architecture=detector.config.architecture,
            class_names=list(detector.class_names),
            training=_record(detector, path),
        )
        session.add(model)
        session.flush()
        if registry.champion(session) is None:
            registry.promote(session, model, actor, {"added": str(path)})
        return model


def _with_background(names: Sequence[str]) -> tuple[str, ...]:
    """K names, background first; numbers without a class are named by themselves."""
    given = names[1:] if names[0].strip("_").lower() == BACKGROUND else names
    return (
        BACKGROUND,
        *(f"unused {n}" if name in UNUSED else name for n, name in enumerate(given, 1)),
    )


def _check(session: Session, detector: SsdDetector) -> None:
    known = session.get(Model, detector.version)
    if known is not None:
        raise Conflict(f"this is model {known.number} already")
    champion = registry.champion(session)
    if champion is None:
        return
    missing = [name for name in champion.class_names if name not in detector.class_names]
    if missing:
        raise Conflict(
            f"it does not know {', '.join(missing[:5])}, which the champion does: failures of "
            "these could not be looked at with it"
        )


def _record(detector: SsdDetector, path: Path) -> dict[str, Any]:
    return {
        "architecture": detector.config.architecture,
        "weights": {"source": "added", "detail": str(path)},
    }
