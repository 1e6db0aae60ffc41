"""What the champion sees in the pool, for whoever wants to choose from it."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.kernel.errors import CurationError, ShardCorrupt
from curation.kernel.types import Detections
from services.context import Context
from services.db.engine import reading
from services.db.parts import in_parts
from services.db.tables import Cycle, Image, Model, Role, Unit, UnitState
from services.models.predict import Predict
from services.store.project_store import OF_RUNS, store_of
from services.store.storage import open_image, packed, read_arrays, read_npz, write_npz

logger = logging.getLogger(__name__)

SECONDS = "seconds"
"""Key in the result of a unit that looked at pool images: how long it took."""
Arrays = dict[str, npt.NDArray[Any]]
LATELY = 50
"""Units that tell how fast the champion is."""
OPEN_FILES = 4
"""Files of which the detections are held. Both files and whoever reads them go by image id, so that
the next image is mostly in the file of the last."""


class PoolScores(Mapping[str, Detections]):
    """Detections of pool images, read from their files as they are asked for.

    Held are names and places alone: the detections of an image take some 5 KB down to one percent,
    of a pool of a hundred thousand half a gigabyte.

    Args:
        files: as :func:`write` writes them, or keys as of :func:`keep`; of an image that is in
            two, the later counts. A damaged or lost one costs those that are in it: nobody has
            looked at them.
        context: wiring, where there are keys.
    """

    def __init__(self, files: Iterable[Path | str] = (), context: Context | None = None) -> None:
        self._context = context
        self._files: list[Path | str] = []
        self._places: dict[str, tuple[int, int]] = {}
        self._open: OrderedDict[int, tuple[Arrays, npt.NDArray[np.int64]]] = OrderedDict()
        self._own: tempfile.TemporaryDirectory[str] | None = None
        for file in files:
            self._take(file)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._places

    def __getitem__(self, image_id: str) -> Detections:
        number, row = self._places[image_id]
        arrays, ends = self._arrays(number)
        own = slice(int(ends[row] - arrays["counts"][row]), int(ends[row]))
        boxes, scores, labels, default_boxes = (
            arrays[key][own] for key in ("boxes", "scores", "labels", "default_boxes")
        )
        return Detections(boxes, scores, labels, default_boxes)

    def add(self, found: Mapping[str, Detections]) -> None:
        """Take up what was seen just now; it lies in a temporary file as long as this lives."""
        if found:
            if self._own is None:
                self._own = tempfile.TemporaryDirectory(prefix="e2x-scores-")
            file = Path(self._own.name) / f"{len(self._files):06d}.npz"
            write(file, found)
            self._take(file)

    def _read(self, file: Path | str) -> Arrays:
        if isinstance(file, Path):
            return read_npz(file)
        if self._context is None:
            raise TypeError(f"{file} is a key, and there is no store")
        return read_arrays(self._context, file)

    def _take(self, file: Path | str) -> None:
        try:
            arrays = self._read(file)  # all of it: what is damaged is found before a choice begins
        except (FileNotFoundError, ShardCorrupt) as error:
            logger.warning("what the champion saw in some of the pool is left out: %s", error)
            return
        number = len(self._files)
        self._files.append(file)
        for row, image_id in enumerate(arrays["images"]):
            self._places[str(image_id)] = number, row

    def _arrays(self, number: int) -> tuple[Arrays, npt.NDArray[np.int64]]:
        if number not in self._open:
            arrays = self._read(self._files[number])
            self._open[number] = arrays, np.cumsum(arrays["counts"])
            while len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)
        self._open.move_to_end(number)
        return self._open[number]


def write(file: Path, found: Mapping[str, Detections]) -> None:
    """Write what a champion sees in images, one at least; whole or not at all.

    Raises:
        DiskFull: there is no space.
    """
    write_npz(file, **_arrays_of(found))


def keep(context: Context, folder: str, name: str, found: Mapping[str, Detections]) -> str:
    """Store what a champion sees in images, one at least; whole or not at all.

    The name tells the content too: of two hosts that looked at the same images neither replaces
    what the other may be reading.

    Args:
        context: wiring.
        folder: as of :func:`folder_of_cycle` or :func:`folder_of_plans`.
        name: of the images.
        found: what was seen.

    Returns:
        The key.

    Raises:
        DiskFull: there is no space; StoreUnavailable: the bucket does not answer.
    """
    data = packed(_arrays_of(found))
    key = f"{folder}/pool-{name}-{hashlib.sha256(data).hexdigest()[:12]}.npz"
    store_of(context).put_new(key, data)
    return key


def _arrays_of(found: Mapping[str, Detections]) -> Arrays:
    seen = list(found.values())
    return {
        "images": np.array(list(found)),
        "counts": np.array([len(one) for one in seen], np.int64),
        "boxes": np.concatenate([one.boxes_xyxy for one in seen]),
        "scores": np.concatenate([one.scores for one in seen]),
        "labels": np.concatenate([one.labels for one in seen]),
        "default_boxes": np.concatenate([one.default_boxes for one in seen]),
    }


def known_scores(context: Context, champion: Model) -> PoolScores:
    """Detections of pool images that this champion has looked at, for some cycle or plan."""
    with reading(context.sessions) as session:
        query = select(Cycle.id).where(Cycle.champion_id == champion.id).order_by(Cycle.id)
        numbers = session.scalars(query).all()
    folders = [folder_of_plans(champion.id), *map(folder_of_cycle, numbers)]
    return PoolScores([key for one in folders for key in _keys_in(context, one)], context)


def folder_of_plans(model_id: str) -> str:
    """Where in the store lies what a model saw in pool images as plans were made."""
    return f"runs/plan-{model_id[:16]}"


def folder_of_cycle(cycle_id: int | None) -> str:
    """Where in the store lies what a cycle's champion saw."""
    return f"runs/cycle-{cycle_id}"


def read_pool_scores(context: Context, cycle_id: int) -> PoolScores:
    """Detections of every pool image that the cycle's champion has looked at."""
    return PoolScores(_keys_in(context, folder_of_cycle(cycle_id)), context)


def _keys_in(context: Context, folder: str) -> list[str]:
    keys = (entry.key for entry in store_of(context).walk(folder))
    return sorted(key for key in keys if OF_RUNS.fullmatch(key))


def seconds_an_image(session: Session) -> float | None:
    """What a look at a pool image took of late, in seconds of one worker; None: unknown."""
    query = select(Unit.result).where(Unit.kind == "score_pool", Unit.state == UnitState.DONE)
    found = session.scalars(query.order_by(Unit.id.desc()).limit(LATELY)).all()
    told = [one for one in found if one is not None and SECONDS in one and one["images"]]
    images = sum(one["images"] for one in told)
    return sum(one[SECONDS] for one in told) / images if images else None


def unknown(context: Context, scores: Mapping[str, Detections]) -> list[str]:
    """Ids of pool images without scores, sorted."""
    with reading(context.sessions) as session:
        ids = session.scalars(select(Image.id).where(Image.role == Role.POOL).order_by(Image.id))
        return [image_id for image_id in ids if image_id not in scores]


def score(
    context: Context,
    champion: Model,
    image_ids: Sequence[str],
    predict: Predict,
    on_image: Callable[[], None],
) -> dict[str, Detections]:
    """Run the champion over images; one that cannot be opened is left out.

    Args:
        context: wiring.
        champion: whose eyes.
        image_ids: of the pool.
        predict: runs a model.
        on_image: called after each image.
    """
    found: dict[str, Detections] = {}
    for image in _rows(context, image_ids):
        try:
            pixels = open_image(context, image)
        except (CurationError, OSError) as error:
            logger.warning("image %s cannot be chosen: %s", image.id, error)
            continue
        finally:
            on_image()
        found[image.id] = predict(champion.id, [pixels])[0]
    return found


def _rows(context: Context, image_ids: Sequence[str]) -> Iterator[Image]:
    for part in in_parts(image_ids):
        with reading(context.sessions) as session:
            rows = session.scalars(select(Image).where(Image.id.in_(part)).order_by(Image.id)).all()
        yield from rows
