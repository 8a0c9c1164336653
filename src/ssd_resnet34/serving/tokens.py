"""The bearer token (RFC 6750), the same over HTTP and gRPC."""

import hmac
from typing import Final

from ..errors import UsageError
from .refusals import Refused

LEAST: Final = 16
"""Characters of a token that cannot be guessed."""


def refuse_weak(token: str, where: str = "token") -> None:
    """Refuse a token of the server's own that could be guessed, or that no header can carry.

    Args:
        token: without blanks around it.
        where: it comes from, for the message.

    Raises:
        UsageError: it is too short, or not ASCII.
    """
    if len(token) < LEAST or not token.isascii():
        raise UsageError(f"{where}: give at least {LEAST} ASCII characters")


def check_token(authorization: str, token: str | None) -> None:
    """Let pass what has the server's ``token``, and everything where there is none.

    Args:
        authorization: value of the header, or of gRPC's metadata; "" without one.

    Raises:
        Refused: no token, or another.
    """
    if token is None:
        return
    kind, _, value = authorization.partition(" ")
    # A comparison that stops at the first difference would tell how much is right.
    right = hmac.compare_digest(value.strip().encode(), token.encode())
    if kind.lower() != "bearer" or not right:
        raise Refused("unauthorized", "send 'Authorization: Bearer TOKEN'")
