"""Detectors that were trained elsewhere: into the registry, beside those that cycles train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from curation.formats.class_lists import parse_class_list, read_class_list
from curation.kernel.class_names import BACKGROUND, clean_class_name
from retrain.config import DetectorConfig
from retrain.errors import RetrainError
from services.accounts import audit
from services.config import builders
from services.config.settings import Settings
from services.context import Context
from services.db.engine import reading
from services.db.tables import Model, ModelState
from services.errors import Conflict, InvalidRequest
from services.models import mirrored, registry
from services.store import model_folders

if TYPE_CHECKING:
    from retrain.detector import SsdDetector

_LIST_SUFFIXES = (".txt", ".names", ".yaml", ".yml", ".json")
"""Of files, and of no class."""


class DefaultBoxes(StrEnum):
    """Where the default boxes of a network lie that says nothing of it."""

    TORCHVISION = "torchvision"
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be added.

    Attributes:
        path: a model folder, which says what it is, or a file with the weights of a whole network.
        class_names: of a file: in the order of its head, with or without background; None for
            numbers that no class has.
        architecture: of a file; None: the one that is set.
        default_boxes: of a file; None: torchvision's where it has the architecture.
        network: of a file with several networks: which; "" leaves it to ``networks.choose``.
    """

    path: Path
    class_names: tuple[str | None, ...] = ()
    architecture: str | None = None
    default_boxes: DefaultBoxes | None = None
    network: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A detector that was read.

    Attributes:
        detector: ready to run.
        note: what a person should know of how it was read; "" if there is nothing.
    """

    detector: SsdDetector
    note: str = ""


def read_class_names(given: str) -> tuple[str | None, ...]:
    """Names with commas between, or those of a file in any form that lists of classes have.

    Returns:
        Names by number; None where a number has none.

    Raises:
        InvalidRequest: there is none.
        AnnotationsInvalid: the list cannot be read.
    """
    file = Path(given)
    if given.strip() and _is_file(file):
        return read_class_list(file).names
    if not given.strip(" ,"):
        raise InvalidRequest(f"no class in {given!r}: name them, `--classes car,bus`, or a file")
    if Path(given).suffix.lower() in _LIST_SUFFIXES:
        raise InvalidRequest(
            f"{given}: no such file; its classes can be named, `--classes car,bus`"
        )
    return parse_class_list("\n".join(given.split(",")), "--classes").names


def load(source: Source, settings: Settings) -> Loaded:
    """The detector that a source holds.

    Raises:
        InvalidRequest: it cannot be read, or is not what it is said to be.
    """
    from retrain import published  # loads PyTorch, which asking for help does without

    said = source.class_names or source.architecture or source.default_boxes or source.network
    try:
        if source.path.is_dir():
            if said:
                raise InvalidRequest(
                    f"{source.path} is a model folder, which says itself what it is: leave out "
                    "--classes, --architecture, --default-boxes and --network"
                )
            return Loaded(_of_folder(source.path))
        if not source.path.exists():
            raise InvalidRequest(f"{source.path}: no such file or model folder")
        config = config_of(source, settings)
        found = published.find(source.path, config, source.network)
        names = _with_background(source.class_names, found.num_classes)
        detector = published.load(found, replace(config, class_names=names))
        return Loaded(detector, found.network.note)
    except RetrainError as error:
        raise InvalidRequest(str(error)) from error


def config_of(source: Source, settings: Settings) -> DetectorConfig:
    """What network a file holds, by what was said of it.

    Raises:
        InvalidRequest: nobody said what its classes are, or torchvision has no such network.
        ConfigInvalid: no such architecture, or the name of a class is refused.
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
    return replace(builders.detector_config(settings, names), architecture=architecture)


def add(context: Context, detector: SsdDetector, path: Path, actor: str) -> Model:
    """Put a detector into the registry: as the champion where there is none, else as a challenger.

    Args:
        context: wiring.
        detector: of what :func:`load` returned.
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
        mirrored.want(session, model.id)
        audit.record(session, "model.add", f"model:{model.id}", number=number, path=str(path))
        if registry.champion(session) is None:
            registry.promote(session, model, actor, {"added": str(path)})
        return model


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # names with commas may be too long for a file's
        return False


def _of_folder(folder: Path) -> SsdDetector:
    """The detector of a model folder, with the names of its classes as they are kept here."""
    from retrain.detector import SsdDetector
    from retrain.ssd import build

    detector = SsdDetector.load(folder)
    names = tuple(clean_class_name(name) for name in detector.class_names)
    if names[0] != BACKGROUND:
        raise InvalidRequest(f"{folder}: its first class is {names[0]!r}, not {BACKGROUND!r}")
    if names == detector.class_names:
        return detector
    config = replace(detector.config, class_names=names)
    model = build(config)
    model.load_state_dict(detector.state())
    return SsdDetector(model.eval(), config)


def _with_background(
    names: Sequence[str | None], num_classes: int | None = None
) -> tuple[str, ...]:
    """K names, background first; numbers without a class are named by themselves.

    Args:
        names: as they were given, by number.
        num_classes: of the head, with background. A first number without a class may be that of
            the background, as in COCO's categories, which begin at 1: the head tells.
    """
    first = names[0]
    given = names
    if (first is not None and first.strip("_").lower() == BACKGROUND) or (
        first is None and len(names) == num_classes
    ):
        given = names[1:]
    return (
        BACKGROUND,
        *(f"unused {n}" if name is None else name for n, name in enumerate(given, 1)),
    )


def already_there(context: Context, detector: SsdDetector) -> Model | None:
    """The model of the registry that has these weights and classes."""
    with reading(context.sessions) as session:
        return session.get(Model, detector.version)


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
