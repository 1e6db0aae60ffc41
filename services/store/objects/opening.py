"""The object store that the settings name."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from services.config.setting_groups import StorageSettings
from services.errors import InvalidRequest
from services.store.objects.base import Objects
from services.store.objects.folder import FolderObjects


def open_objects(settings: StorageSettings, project: Path, any_name: bool = False) -> Objects:
    """The store of a project; nothing is asked of it yet.

    Args:
        settings: whose ``url`` says which; empty for the project's own folder.
        project: the project folder.
        any_name: whether objects of a bucket are other people's, called what they like.

    Raises:
        InvalidRequest: it is a bucket, and the library for those is not installed.
    """
    parts = urlsplit(settings.url)
    if parts.scheme != "s3":
        return FolderObjects(Path(unquote(parts.path)) if settings.url else project)
    try:
        from services.store.objects.s3 import S3Objects  # loads a library that few need
    except ModuleNotFoundError as error:
        raise InvalidRequest(
            f"{settings.url} needs the library for buckets: pip install 'e2x[s3]'"
        ) from error
    return S3Objects(settings, parts.netloc, unquote(parts.path).strip("/"), any_name)
