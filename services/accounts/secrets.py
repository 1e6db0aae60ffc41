"""Random secrets, what is stored of them, and passwords.

Ids of sessions and tokens are random, so that SHA-256 is enough for them; what people think up is
hashed by Argon2id, which makes each guess cost memory and time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from functools import cache
from typing import TYPE_CHECKING

from services.errors import InvalidRequest

if TYPE_CHECKING:
    from pwdlib import PasswordHash

PREFIX = "e2x_"
"""Of personal tokens, so that scanners of repositories and people know one when they see it."""
_RANDOM_CHARS, _CHECK_CHARS = 43, 6
LONGEST_PASSWORD = 1000
"""Characters. Argon2 takes more, but nobody types it."""


def new_token() -> str:
    """A personal token: prefix, 256 random bits, and a checksum over them."""
    random = secrets.token_urlsafe(32)
    return f"{PREFIX}{random}{_check(random)}"


def is_token(text: str) -> bool:
    """Whether a text is a token by its form: a slip of the pen asks no database."""
    random = text.removeprefix(PREFIX)[:_RANDOM_CHARS]
    return hmac.compare_digest(text.encode(), f"{PREFIX}{random}{_check(random)}".encode())


def _check(random: str) -> str:
    return hashlib.sha256(random.encode()).hexdigest()[:_CHECK_CHARS]


def new_session_id() -> str:
    """What the cookie of a session holds: 256 random bits."""
    return secrets.token_urlsafe(32)


def stored(secret: str) -> str:
    """What the database has of a random secret: its SHA-256, hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def derived(secret: str, purpose: str) -> str:
    """Another secret that follows from the first and does not give it away (HMAC-SHA-256)."""
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def check_password(password: str, name: str, least: int) -> None:
    """Refuse a password that is easily guessed.

    Length is what counts (NIST SP 800-63B, 5.1.1.2): no rule about digits and signs.

    Raises:
        InvalidRequest: the message says what is wrong.
    """
    if len(password) < least:
        raise InvalidRequest(
            f"the password has {len(password)} characters: {least} at least "
            "(setting accounts.min_password_length); several words are easy to keep in mind"
        )
    if len(password) > LONGEST_PASSWORD:
        raise InvalidRequest(f"the password is over {LONGEST_PASSWORD} characters long")
    if name.casefold() in password.casefold() and len(password) < 2 * len(name) + 4:
        raise InvalidRequest("the password is little more than the user's name: take another")
    if len(set(password)) < 5:
        raise InvalidRequest("the password repeats a few characters: take another")


def hash_password(password: str) -> str:
    """Argon2id of a password, with its salt and parameters."""
    return _hasher().hash(password)


def is_right(password: str, known: str | None) -> tuple[bool, str | None]:
    """Whether a password is the right one; takes as long where there is none.

    Args:
        password: as it was typed.
        known: hash of the right one; None: no such user, or one without a password.

    Returns:
        Whether, and a new hash to store where the parameters of the old one have aged.
    """
    decoy = _decoy()  # in both cases, or the first stranger of a process would wait twice as long
    right, better = _hasher().verify_and_update(password, known or decoy)
    return (right, better) if known else (False, None)


@cache
def _hasher() -> PasswordHash:
    from pwdlib import PasswordHash  # on use: commands that ask for no password start without it
    from pwdlib.hashers.argon2 import Argon2Hasher

    return PasswordHash((Argon2Hasher(),))


@cache
def _decoy() -> str:
    return _hasher().hash(secrets.token_urlsafe(16))
