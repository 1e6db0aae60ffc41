"""The engine ``lancedb``: a LanceDB database beside the other files, for all hosts the same one.

``index/<first 16 digits of the encoder>.lancedb`` in the project folder or in the store. A host
keeps no copy: it reads what a search needs.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from curation.kernel.errors import CurationError
from services.config.setting_groups import StorageSettings
from services.context import Context
from services.errors import InvalidRequest
from services.store.depots import INDEX, StoreDepot
from services.store.objects import walk
from services.store.project_store import store_of

if TYPE_CHECKING:
    from curation.index.lance_index import LanceIndex

SUFFIX = ".lancedb"
STATE = "ENGINE.json"
"""As :mod:`curation.index.lance_state` calls it, which loads nothing of LanceDB either."""
REQUEST_S = 60


def depot_of(context: Context, encoder_version: str) -> StoreDepot:
    """Where the index of an encoder lies."""
    return StoreDepot(store_of(context).objects, encoder_version, SUFFIX)


def open_index(context: Context, encoder_version: str, width: int) -> LanceIndex:
    """The region index of one encoder version; see :mod:`services.store.region_index`."""
    try:
        from curation.index.lance_index import LanceIndex  # loads a library that few need
    except ModuleNotFoundError as error:
        raise InvalidRequest(_MISSING) from error
    folder = _folder_of(context, encoder_version)
    depot = depot_of(context, encoder_version)
    return LanceIndex(
        depot,
        depot.name if folder is None else str(folder),
        encoder_version,
        width,
        options=options(context.settings.storage) if folder is None else {},
        folder=folder,
    )


_MISSING = (
    "index.engine = lancedb needs its library: pip install 'e2x[lancedb]' on every host, or set "
    "index.engine = faiss"
)


def options(settings: StorageSettings) -> dict[str, str]:
    """Of a bucket, as LanceDB names them."""
    found = {
        "aws_region": settings.region,
        "allow_http": str(urlsplit(settings.endpoint).scheme == "http").lower(),
        "allow_invalid_certificates": str(not settings.verify_tls).lower(),
        "timeout": f"{REQUEST_S}s",
        "client_max_retries": "10",
        "client_retry_timeout": str(round(settings.patience_s)),
    }
    if settings.endpoint:
        found["aws_endpoint"] = settings.endpoint
    for name, secret in (
        ("aws_access_key_id", settings.access_key),
        ("aws_secret_access_key", settings.secret_key),
    ):
        if secret is not None:
            found[name] = secret.get_secret_value()
    return found


def has_index(context: Context, encoder_version: str) -> bool:
    """Whether anything was ever indexed under an encoder."""
    return depot_of(context, encoder_version).tag(STATE) is not None


def width_of(context: Context, encoder_version: str) -> int:
    """Width of an index's vectors."""
    return _state(depot_of(context, encoder_version))[1]


def begin_anew(context: Context, encoder_version: str, width: int) -> str:
    """Let the index of an encoder be empty; in a folder the old files are put aside."""
    folder, aside = _folder_of(context, encoder_version), ""
    if folder is not None and folder.exists():
        aside = f"{folder.name}.damaged-{secrets.token_hex(4)}"
        folder.rename(folder.with_name(aside))
    depot = depot_of(context, encoder_version)
    with contextlib.suppress(CurationError):  # the state itself may be what is damaged
        open_index(context, encoder_version, width).begin_anew()
        return aside
    depot.delete(STATE)
    open_index(context, encoder_version, width).begin_anew()
    return aside


def encoders_in(context: Context) -> list[str]:
    """Versions of all encoders that there is an index of."""
    objects = store_of(context).objects
    keys = [entry.key for entry in walk(objects, INDEX) if entry.key.endswith(f"/{STATE}")]
    found = [key.split("/")[1].removesuffix(SUFFIX) for key in keys if key.count("/") == 2]
    return sorted(_state(StoreDepot(objects, name, SUFFIX))[0] for name in found)


def follow(context: Context, encoder_version: str) -> None:
    """A host has no copy."""


def version() -> str:
    """What is installed of it, in words."""
    try:
        import lancedb
    except ModuleNotFoundError as error:
        raise InvalidRequest(_MISSING) from error
    return f"lancedb {lancedb.__version__}"


def _folder_of(context: Context, encoder_version: str) -> Path | None:
    root = store_of(context).root
    return None if root is None else root / INDEX / f"{encoder_version[:16]}{SUFFIX}"


def _state(depot: StoreDepot) -> tuple[str, int]:
    """Encoder and width that an index says.

    Raises:
        OSError: it cannot be read, or there is none.
        ValueError: it is damaged.
    """
    try:
        said = json.loads(depot.get(STATE)[0])
        return str(said["encoder"]), int(said["width"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{depot.name}/{STATE} is damaged") from error
