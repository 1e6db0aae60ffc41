"""Fitting features to the seed set: which channels tell the classes apart, and what they look like.

One image is held at a time. What was learnt of each image is kept until the fit is done, so that a
process that was stopped goes on; equal images and labels give an equal fit.
"""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curation.explain.methods.vebi_ablation import COUNTS, ablation_curve, target_of
from curation.explain.methods.vebi_examples import examples
from curation.explain.methods.vebi_features import FeatureModel, describe, fitted
from curation.explain.methods.vebi_pictures import average_images
from curation.kernel import images
from curation.kernel.errors import CurationError
from curation.kernel.files import write_bytes
from curation.kernel.images import ImageLimits
from curation.kernel.manifest import ManifestItem
from curation.kernel.types import BoolArray, FloatArray, ImageArray, IntArray
from retrain.detector import SsdDetector
from services.config import builders
from services.context import Context
from services.db.engine import reading
from services.db.tables import Model, Role
from services.errors import InvalidRequest
from services.models import datasets, features
from services.store import model_folders
from services.store.project_store import store_of

logger = logging.getLogger(__name__)

IMAGES = 400
"""Of the seed set; evenly picked of more. A box costs 12 kB of memory."""
PICTURES = 3
"""Channels of each class that an average picture is made of."""
ABLATED = 12
"""Objects that channels are taken away from, two of a class and an image at most."""
CHANNELS_TOLD = 10

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class _Part:
    """What was learnt of one image."""

    layers: tuple[str, ...]
    channels: tuple[int, ...]
    rows: FloatArray
    boxes: FloatArray
    labels: IntArray
    missed: BoolArray


class _Images(Sequence[ImageArray]):
    """Images that are read when they are asked for."""

    def __init__(self, files: Sequence[Path], limits: ImageLimits) -> None:
        self._files, self._limits = files, limits

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: Any) -> Any:
        return images.load(self._files[number], self._limits)


def fit(
    context: Context, model_id: str, on_progress: OnProgress, most_images: int = IMAGES
) -> dict[str, Any]:
    """Fit features of a model, keep them with it, and tell what they are.

    Args:
        context: wiring.
        model_id: the model.
        on_progress: told what is done, how much of it, and how much there is.
        most_images: of the seed set.

    Returns:
        What the model's row says of them: ``file``, ``images``, ``boxes``, and of each class
        ``channels``, ``pictures`` (keys in the store) and ``ablation``.

    Raises:
        InvalidRequest: there is no labelled seed set.
        ExplanationFailed: no image of it can be read.
    """
    with reading(context.sessions) as session:
        model = session.get_one(Model, model_id)
        manifest = datasets.labelled_set(session, Role.SEED)
    items = _picked([item for item in manifest.items if not all(item.ignore)], most_images)
    if not items:
        raise InvalidRequest("there is no labelled seed set: `e2x import FOLDER --role seed`")
    with model_folders.local(context, model.folder) as path:
        detector = builders.load_detector(path, context.settings)
    work = context.project.runs / f"features-{_named(model_id, items)}"
    with store_of(context).local_images((item.file for item in items), work.name) as root:
        limits = builders.image_limits(context.settings)
        parts, files, kept = _learnt(detector, items, root, limits, work, on_progress)
        on_progress("solving", 0, 1)
        found = _solved(detector, parts)
        on_progress("solving", 1, 1)
        told = _told(context, model, detector, found, parts, _Images(files, limits), on_progress)
        told["ablation"] = _ablation(detector, found, kept, files, limits, on_progress)
    told |= {"images": len(parts), "unreadable": len(items) - len(parts)}
    with context.sessions.begin() as session:
        row = session.get_one(Model, model_id, with_for_update=True)
        row.training = {**(row.training or {}), features.KEY: told}
    shutil.rmtree(work, ignore_errors=True)
    return told


def _picked(items: Sequence[ManifestItem], most: int) -> list[ManifestItem]:
    ordered = sorted(items, key=lambda item: item.image)
    if len(ordered) <= most:
        return ordered
    return [ordered[n * len(ordered) // most] for n in range(most)]


def _named(model_id: str, items: Sequence[ManifestItem]) -> str:
    words = repr([model_id, [(i.image, i.boxes_xyxy, i.labels, i.ignore) for i in items]])
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _learnt(
    detector: SsdDetector,
    items: Sequence[ManifestItem],
    root: Path,
    limits: ImageLimits,
    work: Path,
    on_progress: OnProgress,
) -> tuple[list[_Part], list[Path], list[ManifestItem]]:
    """Features of the objects of each image and of background beside them; of those that are read.

    Returns:
        Parts, files and items, of the same images.
    """
    parts, files, kept = list[_Part](), list[Path](), list[ManifestItem]()
    for number, item in enumerate(items):
        on_progress("learning", number, len(items))
        part = _read(work / f"{item.image}.npz")
        try:
            if part is None:
                part = _describe(detector, images.load(root / item.file, limits), item, number)
                write_bytes(work / f"{item.image}.npz", _bytes_of(part))
        except (CurationError, OSError) as error:
            logger.warning("%s is left out: %s", item.file, error)
            continue
        parts.append(part)
        files.append(root / item.file)
        kept.append(item)
    on_progress("learning", len(items), len(items))
    if not parts:
        raise InvalidRequest("no image of the seed set can be read")
    return parts, files, kept


def _describe(detector: SsdDetector, image: ImageArray, item: ManifestItem, seed: int) -> _Part:
    truth = item.truth(detector.class_names)
    shown = examples(detector, [image], [truth], seed=seed)
    told = describe(detector, image, shown.boxes_xyxy[0])
    rows = told.rows.astype(np.float32)
    boxes = shown.boxes_xyxy[0].astype(np.float32)
    return _Part(told.layers, told.channels, rows, boxes, shown.labels[0], shown.missed[0])


def _bytes_of(part: _Part) -> bytes:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        layers=np.array(part.layers),
        channels=np.array(part.channels),
        rows=part.rows,
        boxes=part.boxes,
        labels=part.labels,
        missed=part.missed,
    )
    return buffer.getvalue()


def _read(file: Path) -> _Part | None:
    """What was kept; None where there is nothing, or half of it: learnt again then."""
    try:
        with np.load(file, allow_pickle=False) as held:
            return _Part(
                tuple(map(str, held["layers"])),
                tuple(map(int, held["channels"])),
                held["rows"],
                held["boxes"],
                held["labels"],
                held["missed"],
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _solved(detector: SsdDetector, parts: Sequence[_Part]) -> FeatureModel:
    return fitted(
        detector,
        parts[0].layers,
        parts[0].channels,
        np.concatenate([part.rows for part in parts]).astype(np.float64),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.missed for part in parts]),
    )


def _told(
    context: Context,
    model: Model,
    detector: SsdDetector,
    found: FeatureModel,
    parts: Sequence[_Part],
    pictures_of: _Images,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Store the fit and the average pictures; what there is."""
    names = [*detector.class_names[1:], "missed"]
    rows = [*range(1, len(detector.class_names)), len(detector.class_names)]
    chosen = {name: found.relevant(row)[:PICTURES] for name, row in zip(names, rows, strict=True)}
    every = list(dict.fromkeys(int(f) for some in chosen.values() for f in some))
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        on_progress("drawing", done, len(parts))

    boxes = [part.boxes for part in parts]
    drawn = average_images(detector, found, pictures_of, boxes, every, on_image=count)
    store, prefix = store_of(context), features.prefix(model, found.fingerprint)
    keys = {}
    for feature, picture in zip(every, drawn, strict=True):
        keys[feature] = f"{prefix}-{feature}.png"
        store.put(keys[feature], images.encode_png(picture.round().clip(0, 255).astype(np.uint8)))
    store.put(f"{prefix}.npz", found.to_bytes())
    classes = {
        name: {
            "channels": [_channel(found, row, int(f)) for f in found.relevant(row)[:CHANNELS_TOLD]],
            "pictures": [keys[int(feature)] for feature in chosen[name]],
        }
        for name, row in zip(names, rows, strict=True)
    }
    return {"file": f"{prefix}.npz", "boxes": found.num_boxes, "classes": classes}


def _channel(found: FeatureModel, row: int, feature: int) -> dict[str, Any]:
    layer, channel = found.where(feature)
    weight = round(float(found.weights[row, feature]), 4)
    return {"layer": found.layers[layer], "channel": channel, "weight": weight}


def _ablation(
    detector: SsdDetector,
    found: FeatureModel,
    items: Sequence[ManifestItem],
    files: Sequence[Path],
    limits: ImageLimits,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Mean log-odds of a few objects as channels are taken away, by relevance and at random."""
    names = detector.class_names
    asked = [
        (number, box, names.index(label))
        for number, item in enumerate(items)
        for box, label, ignored in list(
            zip(item.boxes_xyxy, item.labels, item.ignore, strict=True)
        )[:2]
        if label in names and not ignored
    ]
    asked = [asked[n * len(asked) // ABLATED] for n in range(ABLATED)] if asked else []
    curves = []
    for done, (number, box, label) in enumerate(dict.fromkeys(asked)):
        on_progress("checking", done, len(asked))
        image = images.load(files[number], limits)
        target = target_of(detector, image, box, label)
        curves.append(ablation_curve(detector, found, image, target, seed=number))
    on_progress("checking", len(asked), len(asked))
    relevant, others = np.mean(curves, axis=0) if curves else ([], [])
    return {
        "channels": list(COUNTS),
        "objects": len(curves),
        "relevant": [round(float(value), 4) for value in relevant],
        "others": [round(float(value), 4) for value in others],
    }
