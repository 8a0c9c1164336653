"""Joining a Ray cluster: the same for a batch run and for a server."""

import os
import socket
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from .errors import ClusterError, MissingExtra, UsageError

ANSWER: Final = 10.0
"""Seconds for a cluster to answer at all."""


def ray() -> Any:
    """The package.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return import_module("ray")
    except ImportError as error:
        raise MissingExtra("a cluster needs Ray: pip install 'ssd-resnet34[ray]'") from error


def connect(ray: Any, address: str) -> None:
    """Join a cluster. Ray itself waits without end for one that does not answer: it is asked first.

    Args:
        ray: the package.
        address: ``auto`` (the one last started on this machine, or of RAY_ADDRESS), ``local`` (a
            new one, on this machine alone), or HOST:PORT.

    Raises:
        ClusterError: there is none.
        UsageError: no address.
    """
    if ray.is_initialized():
        return
    mend = "start one with `ray start --head`, or give local"
    place = address
    if address == "auto":
        place = os.environ.get("RAY_ADDRESS") or _last_cluster()
        if not place:
            raise ClusterError(f"no Ray cluster is known here; {mend}")
    if place != "local":
        host, _, port = place.rpartition("://")[2].rpartition(":")
        if not host or not port.isdecimal():
            raise UsageError(f"{address!r} is no address of Ray; give auto, local or HOST:PORT")
        try:
            socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()
        except (OSError, UnicodeError) as error:  # the latter: a host that no name can be
            raise ClusterError(f"no Ray cluster at {place} ({error}); {mend}") from error
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    try:
        ray.init(address=place, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ClusterError(f"no Ray cluster at {place} ({error}); {mend}") from error


def _last_cluster() -> str:
    """Where the cluster is that was last started on this machine, "" where none was."""
    folder = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    try:
        return Path(folder, "ray", "ray_current_cluster").read_text().strip()
    except OSError:
        return ""
