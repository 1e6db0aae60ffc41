"""Objects of an S3 bucket, through obstore: Amazon's, SeaweedFS, Ceph, MinIO and their like."""

from __future__ import annotations

import contextlib
import mimetypes
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import S3Store

from services.config.setting_groups import StorageSettings
from services.store.objects.base import (
    PAGE,
    Entry,
    ObjectChanged,
    ObjectExists,
    ObjectLost,
    StoreRefused,
    StoreUnavailable,
    checked,
)
from services.store.space import full_told

if TYPE_CHECKING:
    from obstore import ObjectMeta

PIECE = 8 * 2**20
"""Bytes of a request at most: what breaks off is asked for again from there, and a piece is there
before the time limit of a request also over 3 Mbit/s."""
REQUEST_S, CONNECT_S = 25.0, 5.0
SLOWEST_RETRY_S = 5.0
CREDENTIALS = "look at storage.access_key and storage.secret_key (or AWS_ACCESS_KEY_ID and \
AWS_SECRET_ACCESS_KEY), and at what they may do"
_METADATA = "169.254.169.254"
"""Where machines of a cloud are told their role: asked where nothing else gives credentials."""
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")
_REFUSALS = ("status code: 403 ", "status code: 401 ")

_first_use: int | None = None


class S3Objects:
    """See :class:`services.store.objects.base.Objects`.

    Args:
        settings: endpoint, credentials, patience.
        bucket: its name.
        prefix: of all keys, "" for none.
        any_name: whether keys are of other people, who call objects what they like.
    """

    def __init__(
        self, settings: StorageSettings, bucket: str, prefix: str, any_name: bool = False
    ) -> None:
        self.root: Path | None = None
        self._checked = str if any_name else checked
        self._settings = settings
        self._bucket, self._prefix = bucket, prefix
        self._seen = False  # that the bucket is there
        self._store = _connect(settings, bucket, prefix, settings.endpoint)
        self._public = (
            _connect(settings, bucket, prefix, settings.public_endpoint)
            if settings.public_endpoint
            else None
        )

    @property
    def name(self) -> str:
        """The URL of bucket and prefix."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def put(self, key: str, data: bytes | Path) -> str:
        """Upload bytes or a file; large ones in parts that appear together."""
        with self._told(key):
            done = obstore.put(
                self._store, self._checked(key), data, attributes=_attributes(key), chunk_size=PIECE
            )
        return done["e_tag"] or ""

    def create(self, key: str, data: bytes) -> str:
        """Upload where nothing is: ``If-None-Match: *``."""
        return self._put_if(key, data, "create")

    def swap(self, key: str, data: bytes, etag: str) -> str:
        """Upload in the place of what has this etag: ``If-Match``."""
        return self._put_if(key, data, {"e_tag": etag})

    def _put_if(self, key: str, data: bytes, mode: Any) -> str:
        attributes = _attributes(key)
        with self._told(key):
            done = obstore.put(
                self._store,
                self._checked(key),
                data,
                attributes=attributes,
                mode=mode,
                use_multipart=False,  # its parts know no condition
            )
        return done["e_tag"] or ""

    def get(self, key: str) -> tuple[bytes, Entry]:
        """Download, in pieces if it is large."""
        with self._told(key):
            entry, pieces = self._pieces(key)
            data = b"".join(pieces)
        self._whole(entry, len(data))
        return data, entry

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Download a part."""
        entry = self.head(key)
        if entry is None:
            raise ObjectLost(key, self.name)
        end = min(start + length, entry.size)
        if start >= end:  # S3 calls a range of nothing an error
            return b""
        with self._told(key):
            return bytes(obstore.get_range(self._store, key, start=start, end=end))

    def fetch(self, key: str, path: Path) -> Entry:
        """Download into a file."""
        written = 0
        with self._told(key), full_told(key), path.open("wb") as file:
            entry, pieces = self._pieces(key)
            for piece in pieces:
                written += file.write(piece)
        self._whole(entry, written)
        return entry

    def head(self, key: str) -> Entry | None:
        """Ask for the headers."""
        try:
            with self._told(key):
                return _entry(obstore.head(self._store, self._checked(key)))
        except ObjectLost:
            self._require_bucket()  # an answer without a body does not say which of both is lost
            return None

    def page(self, folder: str = "", after: str = "", most: int = PAGE) -> list[Entry]:
        """One answer of a listing."""
        where = self._checked(folder) if folder else None
        with self._told(folder):
            listed = obstore.list(self._store, where, offset=after or None, chunk_size=most)
            for part in listed:
                return [_entry(one) for one in part]
        return []

    def delete(self, key: str) -> None:
        """Delete; S3 does not say whether it was there."""
        with self._told(key), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, self._checked(key))

    def link(self, key: str, seconds: int) -> str | None:
        """A presigned URL for browsers, where there is an address for them."""
        if self._public is None:
            return None
        with self._told(key):
            return obstore.sign(self._public, "GET", self._checked(key), timedelta(seconds=seconds))

    def _pieces(self, key: str) -> tuple[Entry, Iterator[bytes]]:
        """What is known of an object, and its bytes; all of one version of it."""
        first = obstore.get(self._store, self._checked(key))
        entry = _entry(first.meta)
        if entry.size <= PIECE:
            return entry, iter([bytes(first.bytes())])
        return entry, self._ranges(key, entry)

    def _ranges(self, key: str, entry: Entry) -> Iterator[bytes]:
        for start in range(0, entry.size, PIECE):
            end = min(start + PIECE, entry.size)
            options: Any = {"range": (start, end), "if_match": entry.etag}
            yield bytes(obstore.get(self._store, key, options=options).bytes())

    def _whole(self, entry: Entry, size: int) -> None:
        if size != entry.size:
            raise StoreUnavailable(
                f"{self.name}/{entry.key}: {size} of {entry.size} bytes came: ask again"
            )

    def _require_bucket(self) -> None:
        if not self._seen:
            self.page("", "", 1)
            self._seen = True

    @contextlib.contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """Turn what the library raises into our own errors, which name the object."""
        _same_process()
        where = f"{self.name}/{key}"
        try:
            yield
        except FileNotFoundError as error:
            self._refusal_told(where, error)
            raise ObjectLost(key, self.name) from error
        except exceptions.AlreadyExistsError as error:
            raise ObjectExists(f"{where} is there already") from error
        except exceptions.PreconditionError as error:
            raise ObjectChanged(f"{where} was changed by somebody else: read it") from error
        except exceptions.BaseError as error:
            self._refusal_told(where, error)
            said = _said(error)
            at = self._settings.endpoint or f"Amazon ({self._settings.region})"
            raise StoreUnavailable(f"{where}: {at} does not serve it: {said}") from error

    def _refusal_told(self, where: str, error: Exception) -> None:
        """Raise what asking again does not mend; of a listing the library tells no kinds."""
        said = str(error)
        if "NoSuchBucket" in said:
            raise StoreRefused(f"there is no bucket {self._bucket}: make it first") from error
        if _METADATA in said:
            raise StoreRefused(f"{where}: there are no credentials: {CREDENTIALS}") from error
        if wrong := _CERTIFICATE.search(said):
            raise StoreRefused(
                f"{where}: the certificate of {self._settings.endpoint} is not trusted "
                f"({wrong[1]}): name its authority's file in SSL_CERT_FILE"
            ) from error
        refused = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
        if isinstance(error, refused) or any(status in said for status in _REFUSALS):
            raise StoreRefused(f"{where} is refused: {CREDENTIALS}") from error


def _connect(settings: StorageSettings, bucket: str, prefix: str, endpoint: str) -> S3Store:
    given: dict[str, Any] = {"region": settings.region}
    if endpoint:
        given["endpoint"] = endpoint
    for name, secret in (
        ("access_key_id", settings.access_key),
        ("secret_access_key", settings.secret_key),
    ):
        if secret is not None:
            given[name] = secret.get_secret_value()
    return S3Store(
        bucket,
        prefix=prefix or None,
        client_options={
            "allow_http": urlsplit(endpoint).scheme == "http",
            "allow_invalid_certificates": not settings.verify_tls,
            "connect_timeout": timedelta(seconds=CONNECT_S),
            "timeout": timedelta(seconds=REQUEST_S),
        },
        retry_config={
            "backoff": {"max_backoff": timedelta(seconds=SLOWEST_RETRY_S)},
            "max_retries": 1000,  # it is the time that ends it
            "retry_timeout": timedelta(seconds=settings.patience_s),
        },
        checksum_algorithm="SHA256",  # the server refuses what was changed on its way
        **given,
    )


def _attributes(key: str) -> Any:
    """What a browser must be told of an object that it fetches itself."""
    kind = mimetypes.guess_type(key)[0]
    return {"Content-Type": kind or "application/octet-stream"}


def _entry(meta: ObjectMeta) -> Entry:
    return Entry(meta["path"], meta["size"], meta["e_tag"] or "")


def _said(error: Exception) -> str:
    """The first line of a message: what follows is the library's own state."""
    return str(error).strip().split("\n", 1)[0][:400]


def _same_process() -> None:
    """Refuse what would hang for ever: the library's threads do not survive a fork.

    Raises:
        RuntimeError: another process has used it, and this one is its fork.
    """
    global _first_use
    if _first_use is None:
        _first_use = os.getpid()
    if _first_use != os.getpid():
        raise RuntimeError(
            f"process {_first_use} used a bucket before it forked this one, which cannot use it: "
            "open the store after the fork, or spawn"
        )
