"""Settings of where the project's files are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from services.config.setting_groups.base import Group


class StorageSettings(Group):
    """Where images, models and what is computed from them are kept."""

    url: str = Field(
        default="",
        description="`s3://bucket/prefix` or `file:///folder`; empty: the project folder.",
    )
    endpoint: str = Field(
        default="",
        description="Address of an S3 server, such as `https://store:8333`; empty: Amazon's.",
    )
    region: str = Field(default="us-east-1", description="Region of the bucket.")
    access_key: SecretStr | None = Field(
        default=None,
        description="Access key; empty: `AWS_ACCESS_KEY_ID`, or the role of the machine.",
    )
    secret_key: SecretStr | None = Field(
        default=None, description="Its secret; empty: `AWS_SECRET_ACCESS_KEY`."
    )
    verify_tls: bool = Field(
        default=True,
        description="Check the store's certificate; `SSL_CERT_FILE` names other authorities. "
        "`production` always does.",
    )
    plain_http: bool = Field(
        default=False,
        description="Let `production` speak to an `http://` endpoint, as inside one host.",
    )
    patience_s: float = Field(
        default=90.0,
        ge=0,
        le=290,
        description="How long a store that refuses or is silent is asked again.",
    )
    cache_folder: Path | None = Field(
        default=None,
        description="Where what was read from a bucket is kept; empty: `cache` in the project.",
    )
    cache_bytes: int = Field(
        default=20 * 2**30, ge=2**20, description="What that folder may hold, in bytes."
    )
    public_endpoint: str = Field(
        default="",
        description="Address of the S3 server as browsers reach it: pictures are then fetched "
        "from there, by a URL that is signed for a while; empty: through the API.",
    )
    link_s: int = Field(
        default=300, ge=10, le=604_800, description="How long such a URL is good for."
    )

    @field_validator("url")
    @classmethod
    def _of_a_known_kind(cls, url: str) -> str:
        if not url:
            return url
        parts = urlsplit(url)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("no credentials or options in storage.url: they have settings")
        if parts.scheme == "s3" and parts.netloc:
            return url
        if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
            return url
        raise ValueError(f"{url!r} is neither s3://bucket/prefix nor file:///folder")

    @field_validator("endpoint", "public_endpoint")
    @classmethod
    def _an_address(cls, address: str) -> str:
        parts = urlsplit(address)
        if address and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError(f"{address!r} is no address such as https://store:8333")
        if parts.username or parts.password:
            raise ValueError("no credentials in an endpoint: they have settings")
        return address.rstrip("/")

    @property
    def is_bucket(self) -> bool:
        """Whether files lie in a bucket, and not in a folder."""
        return self.url.startswith("s3://")

    def unsafe(self) -> str:
        """What of these settings production refuses; "" if nothing."""
        if not self.is_bucket:
            return ""
        if not self.verify_tls:
            return "storage.verify_tls is off: the store could be anybody"
        plain = [one for one in (self.endpoint, self.public_endpoint) if one.startswith("http:")]
        if plain and not self.plain_http:
            return f"{plain[0]} is not encrypted: use https, or say storage.plain_http"
        return ""


class IndexSettings(Group):
    """What holds the regions of the pool."""

    engine: Literal["faiss", "lancedb"] = Field(
        default="faiss",
        description="`faiss`: each host searches a copy of its own; `lancedb`: a LanceDB database "
        "in the project folder or bucket that all hosts search and fill, `pip install "
        "'e2x[lancedb]'`. `e2x index move` puts an index over.",
    )
