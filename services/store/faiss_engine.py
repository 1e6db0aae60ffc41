"""The engine ``faiss``: files in the project folder, or objects in a store for all hosts.

Where the store is not the project folder, the folder holds this host's copy, which follows the
store by itself (:mod:`curation.index.replica`).
"""

from __future__ import annotations

import json
import logging
import secrets
import shutil
from pathlib import Path

from curation.index import RegionIndex
from curation.index.depot import MANIFEST, Manifest, manifest_of
from curation.index.depot import begin_anew as begin_depot_anew
from curation.index.state import STATE
from curation.index.version import VERSION_FILE
from services.context import Context
from services.store.depots import INDEX, StoreDepot
from services.store.objects import walk
from services.store.project_store import store_of

logger = logging.getLogger(__name__)

ALONE = "alone"
"""In the name of a folder: an index of this machine from before it had a place in the store."""
AT_A_TIME = 256
"""Images put over from such a one in one write."""
LOCK_S = 60.0


def depot_of(context: Context, encoder_version: str) -> StoreDepot | None:
    """Where the index of an encoder lies for all hosts; None where the project folder holds it."""
    store = store_of(context)
    if not store.is_apart(context.project.root):
        return None
    return StoreDepot(store.objects, encoder_version)


def folder_of(context: Context, encoder_version: str) -> Path:
    """Where its files are on this host."""
    return context.project.index / encoder_version[:16]


def open_index(context: Context, encoder_version: str, width: int) -> RegionIndex:
    """The region index of one encoder version.

    Raises:
        EncoderMismatch: it holds vectors of another encoder.
        ShardCorrupt: a file of it is damaged or lost.
        IndexBusy: another process of this host is bringing its copy up to date.
        StoreUnavailable: the bucket does not answer.
    """
    folder, depot = folder_of(context, encoder_version), depot_of(context, encoder_version)
    if depot is None:
        (folder / STATE).unlink(missing_ok=True)  # it follows nothing any more
        return RegionIndex(folder, encoder_version, width, lock_timeout_s=LOCK_S)
    if _is_alone(folder) and depot.tag(MANIFEST) is not None:
        aside = folder.with_name(f"{folder.name}.{ALONE}-{secrets.token_hex(4)}")
        folder.rename(aside)
    index = RegionIndex(folder, encoder_version, width, lock_timeout_s=LOCK_S, depot=depot)
    for left in sorted(folder.parent.glob(f"{folder.name}.{ALONE}-*")):
        _put_over(RegionIndex(left, encoder_version, width), index, depot.name)
        shutil.rmtree(left, ignore_errors=True)
    return index


def has_index(context: Context, encoder_version: str) -> bool:
    """Whether anything was ever indexed under an encoder."""
    depot = depot_of(context, encoder_version)
    if depot is not None and depot.tag(MANIFEST) is not None:
        return True
    return (folder_of(context, encoder_version) / VERSION_FILE).is_file()


def width_of(context: Context, encoder_version: str) -> int:
    """Width of an index's vectors.

    Raises:
        OSError: it cannot be read, or there is none.
        ShardCorrupt: the store's is damaged.
        ValueError: it does not say.
    """
    depot = depot_of(context, encoder_version)
    if depot is not None and depot.tag(MANIFEST) is not None:
        return _manifest(depot).version.width
    file = folder_of(context, encoder_version) / VERSION_FILE
    try:
        return int(json.loads(file.read_bytes())["width"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{VERSION_FILE} is damaged") from error


def begin_anew(context: Context, encoder_version: str, width: int) -> str:
    """Let the index of an encoder be empty, whatever is damaged; where the old files are.

    In the project folder they are put aside. In a store they go a day later, with the next seal.
    """
    folder, depot = folder_of(context, encoder_version), depot_of(context, encoder_version)
    if depot is not None:
        begin_depot_anew(depot, encoder_version, width)
        return ""
    aside = folder.with_name(f"{folder.name}.damaged-{secrets.token_hex(4)}")
    folder.rename(aside)
    return aside.name


def encoders_in(context: Context) -> list[str]:
    """Versions of all encoders that there is an index of."""
    store = store_of(context)
    if not store.is_apart(context.project.root):
        folders = sorted(context.project.index.glob("[!.]*/"))
        files = [one / VERSION_FILE for one in folders if "." not in one.name]
        return [json.loads(one.read_bytes())["encoder"] for one in files if one.is_file()]
    keys = [entry.key for entry in walk(store.objects, INDEX)]
    names = [key.split("/")[1] for key in keys if key.endswith(f"/{MANIFEST}")]
    return sorted(_manifest(StoreDepot(store.objects, name)).version.encoder for name in names)


def follow(context: Context, encoder_version: str) -> None:
    """Bring this host's copy up to the store's. Errors as of :func:`open_index`."""
    open_index(context, encoder_version, width_of(context, encoder_version))


def version() -> str:
    """What is installed of it, in words."""
    import faiss

    return f"faiss {faiss.__version__}, {faiss.get_num_gpus()} GPUs"


def _manifest(depot: StoreDepot) -> Manifest:
    return manifest_of(depot.get(MANIFEST)[0], depot.name)


def _is_alone(folder: Path) -> bool:
    return (folder / VERSION_FILE).is_file() and not (folder / STATE).exists()


def _put_over(old: RegionIndex, index: RegionIndex, where: str) -> None:
    """Put what only an index of this machine holds into that of all hosts."""
    there = set(index.images())
    names = [name for name in old.images() if name not in there]
    if names:
        logger.warning("%d images that only this machine had indexed go to %s", len(names), where)
    for first in range(0, len(names), AT_A_TIME):
        some = names[first : first + AT_A_TIME]
        found = [old.regions_of(name) for name in some]
        index.add(some, [vectors for vectors, _ in found], [boxes for _, boxes in found])
