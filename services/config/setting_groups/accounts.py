"""Settings of accounts: sessions, passwords, tokens, the OpenID Connect provider."""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from services.config.setting_groups.base import Group

RoleName = Literal["viewer", "labeller", "curator", "admin"]
SHORTEST_PASSWORD = 8
"""NIST SP 800-63B, 5.1.1.1; the default is longer, since nothing else stands beside a password."""


class AccountSettings(Group):
    """Accounts."""

    public_url: str = Field(
        default="",
        description="Where people open the service, such as `https://e2x.example.org`; needed for "
        "OpenID Connect, and behind a proxy that changes the host's name.",
    )
    session_idle_s: float = Field(
        default=8 * 3600.0, ge=300, description="A login unused for so long ends."
    )
    session_max_s: float = Field(
        default=7 * 86_400.0, ge=300, description="Every login ends after so long."
    )
    min_password_length: int = Field(
        default=12, ge=SHORTEST_PASSWORD, le=200, description="Characters of a password at least."
    )
    lock_after: int = Field(
        default=10, ge=1, description="Wrong passwords for one name until it is locked."
    )
    lock_address_after: int = Field(
        default=50, ge=1, description="Wrong passwords from one address until it is locked."
    )
    lock_s: float = Field(
        default=900.0, ge=1, description="How long a lock lasts, and wrong passwords count."
    )
    token_days: float = Field(
        default=90.0, gt=0, description="A personal token ends after so many days if none are said."
    )
    token_max_days: float = Field(
        default=366.0, gt=0, description="Longest life of a personal token, in days."
    )
    audit_keep_days: float = Field(
        default=1095.0,
        ge=0,
        description="Rows of the audit trail are deleted after so many days, but those that the "
        "loop reads; 0: never.",
    )
    oidc_issuer: str = Field(
        default="", description="URL of the OpenID Connect provider; empty: passwords only."
    )
    oidc_client_id: str = Field(default="", description="This service's name at the provider.")
    oidc_client_secret: SecretStr | None = Field(
        default=None, description="Its secret; none for a public client, which PKCE protects."
    )
    oidc_scopes: str = Field(
        default="openid profile email", description="What the provider is asked for."
    )
    oidc_name_claim: str = Field(
        default="preferred_username", description="Claim that a new user's name is taken from."
    )
    oidc_role_claim: str = Field(
        default="groups", description="Claim with the groups that give a role; dots go deeper."
    )
    oidc_roles: dict[str, RoleName] = Field(
        default_factory=dict,
        description="Role of each group; of several the highest. Asked anew at each login.",
    )
    oidc_default_role: RoleName | None = Field(
        default=None, description="Role of who is in none of them; none: is not let in."
    )
    oidc_domains: list[str] = Field(
        default_factory=list,
        description="Only verified e-mail addresses of these domains are let in; empty: all.",
    )
    oidc_timeout_s: float = Field(
        default=10.0, gt=0, le=120, description="How long the provider may take to answer."
    )

    @model_validator(mode="after")
    def _refuse_what_cannot_work(self) -> Self:
        if self.public_url and not _is_origin(self.public_url):
            raise ValueError(
                "accounts.public_url must be http(s)://host[:port] with nothing after it"
            )
        if self.session_idle_s > self.session_max_s:
            raise ValueError("accounts.session_idle_s must not be above session_max_s")
        if self.token_days > self.token_max_days:
            raise ValueError("accounts.token_days must not be above token_max_days")
        if not self.oidc_issuer:
            return self
        missing = [name for name in ("oidc_client_id", "public_url") if not getattr(self, name)]
        if missing:
            raise ValueError(f"accounts.oidc_issuer needs accounts.{missing[0]} too")
        if "openid" not in self.oidc_scopes.split():
            raise ValueError("accounts.oidc_scopes must have `openid`")
        return self


def _is_origin(url: str) -> bool:
    parts = urlsplit(url)
    rest = parts.path.rstrip("/") or parts.query or parts.fragment or parts.username
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not rest
