"""Users whom an OpenID Connect provider vouches for: whom its claims mean, and what they may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.accounts import audit, users
from services.config.setting_groups import AccountSettings
from services.config.settings import Settings
from services.db import actors
from services.db.actors import Actor, Door
from services.db.tables import User, UserRole
from services.errors import Forbidden, InvalidRequest


def user_of(session: Session, settings: Settings, claims: Mapping[str, Any]) -> User:
    """The user whom claims mean; made on the first login where the settings give a role.

    A user is known by issuer and subject for good. By the name there only, where an admin has said
    that the name is the provider's (``e2x users add NAME --by-provider``) and nobody came before.

    Raises:
        Forbidden: the settings let them not in, or the name belongs to somebody else.
    """
    wanted = settings.accounts
    _require_domain(wanted, claims)
    issuer, subject = str(claims["iss"])[:300], str(claims["sub"])[:300]
    user = session.scalar(select(User).where(User.issuer == issuer, User.subject == subject))
    role = _role_of(wanted, claims)
    with actors.acting(Actor("OpenID Connect", Door.WEB)):
        if user is None:
            user = _first_time(session, settings, claims, role)
            user.issuer, user.subject = issuer, subject
        if wanted.oidc_roles and role is None:
            raise Forbidden(_NO_ROLE)
        if wanted.oidc_roles and role is not None and user.role != role:
            audit.record(session, "user.role", f"user:{user.name}", before=user.role, role=role)
            user.role = role  # the provider's word counts, also about the last admin
    return user


_NO_ROLE = (
    "the provider knows you, and nothing there gives you a role here: ask an admin "
    "(settings accounts.oidc_roles and oidc_default_role, or `e2x users add NAME --by-provider`)"
)


def _first_time(
    session: Session, settings: Settings, claims: Mapping[str, Any], role: UserRole | None
) -> User:
    name = _name_of(settings.accounts, claims)
    known = users.lookup(session, name)
    if known is not None:
        if not known.by_provider or known.subject is not None:
            raise Forbidden(
                f"there is an account {known.name} that is not the provider's: an admin adds you "
                "by another name, or takes another claim for names (accounts.oidc_name_claim)"
            )
        return known
    if role is None:
        raise Forbidden(_NO_ROLE)
    return users.add(session, settings, name, role, None, by_provider=True)


def _name_of(wanted: AccountSettings, claims: Mapping[str, Any]) -> str:
    for claim in (wanted.oidc_name_claim, "email", "sub"):
        said = _claim(claims, claim)
        if isinstance(said, str) and said:
            try:
                return users.check_name(said)
            except InvalidRequest as error:
                raise Forbidden(f"the provider's claim {claim}: {error}") from error
    raise Forbidden("the provider gives no name (setting accounts.oidc_name_claim)")


def _require_domain(wanted: AccountSettings, claims: Mapping[str, Any]) -> None:
    if not wanted.oidc_domains:
        return
    email = str(claims.get("email") or "")
    domain = email.rpartition("@")[2].casefold()
    allowed = {one.casefold().lstrip("@") for one in wanted.oidc_domains}
    if claims.get("email_verified") is not True or domain not in allowed:
        raise Forbidden(
            "only verified e-mail addresses of certain domains are let in "
            "(setting accounts.oidc_domains): ask an admin"
        )


def _role_of(wanted: AccountSettings, claims: Mapping[str, Any]) -> UserRole | None:
    """The highest role that the groups give, or the default."""
    said = _claim(claims, wanted.oidc_role_claim)
    groups = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    given = [UserRole(wanted.oidc_roles[one]) for one in groups if one in wanted.oidc_roles]
    if given:
        return max(given, key=lambda role: role.rank)
    return None if wanted.oidc_default_role is None else UserRole(wanted.oidc_default_role)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or where no claim has it by a path with dots."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
