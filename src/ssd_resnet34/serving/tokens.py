"""The bearer token (RFC 6750), the same over HTTP and gRPC."""

import hmac

from .refusals import Refused


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
