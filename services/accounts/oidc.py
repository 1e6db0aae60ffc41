"""Logging in through an OpenID Connect provider: authorization code with PKCE, state and nonce.

What belongs to one try is derived from one random value in a cookie of that browser, so that
nothing is stored of strangers' tries, and a code that was slipped to another browser is refused.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import re
import secrets as random
import threading
import time
from collections.abc import Mapping
from typing import Any

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from services.accounts.secrets import derived
from services.config.settings import Settings
from services.errors import Forbidden, InvalidRequest, ToolUnavailable

logger = logging.getLogger(__name__)

CALLBACK = "/v1/login/oidc/callback"
DISCOVERY = "/.well-known/openid-configuration"
SIGNATURES = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Taken of a provider; never `none`, nor one whose key is the secret that both sides have."""
FRESH_S = 3600.0
"""How long what a provider says of itself holds; keys are asked for anew when one is missing."""
DOWN_S = 5.0
"""A provider that did not answer is not asked again for so long: who waits takes a thread."""
LEEWAY_S = 120
"""How far the provider's clock may be off."""
MAX_NEXT = 2000
_LOCAL_PATH = re.compile(r"/(?![/\\])[^\x00-\x20\\]*\Z")


def local_path(wanted: str) -> str:
    """Where to go after the login: a path of ours, or the start page; never another site."""
    return wanted if len(wanted) <= MAX_NEXT and _LOCAL_PATH.match(wanted) else "/"


class Provider:
    """The provider that the settings name; safe to use from several threads.

    Args:
        settings: its address, and this service's name and secret there.
    """

    def __init__(self, settings: Settings) -> None:
        self._wanted, self._secret = settings.accounts, settings.oidc_secret()
        self._lock = threading.Lock()
        self._metadata: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._until_s, self._down_until_s = 0.0, 0.0

    @property
    def is_set(self) -> bool:
        """Whether there is one."""
        return bool(self._wanted.oidc_issuer)

    def begin(self, following: str = "/") -> tuple[str, str]:
        """Begin a try.

        Args:
            following: path to go to after the login.

        Returns:
            Where to send the browser, and what its cookie must hold until it comes back.

        Raises:
            InvalidRequest: no provider is set.
            ToolUnavailable: it does not answer.
        """
        metadata = self._described()
        secret = random.token_urlsafe(32)
        with self._client(metadata) as client:
            url, _ = client.create_authorization_url(
                metadata["authorization_endpoint"],
                state=derived(secret, "state"),
                nonce=derived(secret, "nonce"),
                code_verifier=derived(secret, "verifier"),
            )
        kept = base64.urlsafe_b64encode(local_path(following).encode()).decode().rstrip("=")
        return str(url), f"{secret}.{kept}"

    def finish(self, cookie: str, query: Mapping[str, str]) -> tuple[dict[str, Any], str]:
        """End a try: what the provider says of whoever came back.

        Args:
            cookie: of :func:`begin`.
            query: of the address that the provider has sent the browser to.

        Returns:
            Claims, whose signature, issuer, audience, times and nonce are right, and the path to
            go to.

        Raises:
            Forbidden: this browser has begun no such try, or the provider refuses it.
            ToolUnavailable: the provider does not answer.
        """
        secret, _, kept = cookie.partition(".")
        expected = derived(secret, "state").encode()
        given = query.get("state", "").encode("utf-8", "replace")
        if not secret or not hmac.compare_digest(given, expected):
            raise Forbidden("this login was not begun in this browser, or too long ago: try again")
        if "error" in query or not query.get("code"):
            said = query.get("error_description") or query.get("error") or "no code"
            raise Forbidden(f"the provider did not let you in: {said[:200]}")
        metadata = self._described()
        if query.get("iss", metadata["issuer"]) != metadata["issuer"]:  # RFC 9207
            raise Forbidden("this answer is another provider's")
        try:
            with self._client(metadata) as client:
                token = client.fetch_token(
                    metadata["token_endpoint"],
                    code=query["code"],
                    code_verifier=derived(secret, "verifier"),
                    timeout=self._wanted.oidc_timeout_s,
                )
                claims = self._checked(metadata, str(token.get("id_token")), secret)
                return self._completed(client, metadata, claims), _following(kept)
        except (requests.RequestException, ValueError) as error:
            raise self._away(error) from error
        except (AuthlibBaseError, JoseError) as error:
            logger.warning("OpenID Connect: a login was refused: %s", error)
            raise Forbidden(
                f"the provider's answer cannot be taken ({error}): try again"
            ) from error

    def _client(self, metadata: Mapping[str, Any]) -> OAuth2Session:
        ways = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        basic = "client_secret_basic" in ways or "client_secret_post" not in ways
        return OAuth2Session(
            self._wanted.oidc_client_id,
            self._secret or None,
            scope=self._wanted.oidc_scopes,
            redirect_uri=self._wanted.public_url.rstrip("/") + CALLBACK,
            code_challenge_method="S256",
            token_endpoint_auth_method=(
                "none" if not self._secret else
                "client_secret_basic" if basic else "client_secret_post"
            ),
        )  # fmt: skip

    def _described(self) -> dict[str, Any]:
        """What the provider says of itself."""
        if not self.is_set:
            raise InvalidRequest("no OpenID Connect provider is set (accounts.oidc_issuer)")
        with self._lock:
            if time.monotonic() < self._until_s:
                return self._metadata
            if time.monotonic() < self._down_until_s:
                raise self._away("it did not answer a moment ago")
            issuer = self._wanted.oidc_issuer.rstrip("/")
            try:
                found = self._get(issuer + DISCOVERY)
                if str(found["issuer"]).rstrip("/") != issuer:
                    raise ValueError(f"it calls itself {found['issuer']!r}")
                found["authorization_endpoint"], found["token_endpoint"], found["jwks_uri"]
            except (requests.RequestException, ValueError, KeyError) as error:
                self._down_until_s = time.monotonic() + DOWN_S
                raise self._away(error) from error
            self._metadata, self._until_s, self._keys = found, time.monotonic() + FRESH_S, None
            return found

    def _get(self, url: str) -> dict[str, Any]:
        answer = requests.get(url, timeout=self._wanted.oidc_timeout_s)
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document

    def _checked(self, metadata: Mapping[str, Any], token: str, secret: str) -> dict[str, Any]:
        """The claims of an id token.

        Raises:
            JoseError: it is not for us, not now, or not signed by the provider.
        """
        try:
            decoded = jwt.decode(token, self._signers(metadata), algorithms=list(SIGNATURES))
        except (JoseError, ValueError):  # the provider may have taken new keys
            decoded = jwt.decode(token, self._signers(metadata, True), algorithms=list(SIGNATURES))
        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": metadata["issuer"]},
            aud={"essential": True, "value": self._wanted.oidc_client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": derived(secret, "nonce")},
        )
        registry.validate(decoded.claims)
        party = decoded.claims.get("azp", self._wanted.oidc_client_id)
        if party != self._wanted.oidc_client_id:
            raise Forbidden("the provider's answer is meant for another service")
        return dict(decoded.claims)

    def _signers(self, metadata: Mapping[str, Any], anew: bool = False) -> KeySet:
        with self._lock:
            if self._keys is None or anew:
                self._keys = KeySet.import_key_set(self._get(metadata["jwks_uri"]))  # type: ignore[arg-type]
            return self._keys

    def _completed(
        self, client: OAuth2Session, metadata: Mapping[str, Any], claims: dict[str, Any]
    ) -> dict[str, Any]:
        """Claims with those that the provider tells apart from the token; the token's count."""
        url = metadata.get("userinfo_endpoint")
        if not url:
            return claims
        answer = client.get(url, timeout=self._wanted.oidc_timeout_s)
        answer.raise_for_status()
        more = answer.json()
        return {**more, **claims} if more.get("sub") == claims["sub"] else claims

    def _away(self, why: object) -> ToolUnavailable:
        logger.warning("OpenID Connect: %s: %s", self._wanted.oidc_issuer, why)
        return ToolUnavailable(
            "the OpenID Connect provider cannot be reached: try again in a moment, or log in with "
            "a password; the log of the API has the reason"
        )


def _following(kept: str) -> str:
    try:
        return local_path(base64.urlsafe_b64decode(kept + "=" * (-len(kept) % 4)).decode())
    except (binascii.Error, UnicodeDecodeError):
        return "/"
