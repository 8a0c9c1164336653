"""How an input is named: an absolute path where it can be text, else a URI.

======================== ==========================================================
``/photos/a b.jpg``      a local file, as it is called
``file:///photos/%E9``   a local file whose name is not Unicode, percent-encoded bytes
``s3://bucket/a b.jpg``  an object of a store, as fsspec calls it (nothing is encoded)
======================== ==========================================================
"""

import os
import re
from importlib import import_module
from typing import Any, Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from ..errors import MissingExtra, UsageError

_FILE: Final = "file://"
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_S3: Final = ("s3", "s3a")


def local_uri(path: str) -> str:
    """The address of a local file; ``path`` may hold bytes that are no text (surrogates)."""
    path = os.path.abspath(path)
    try:
        path.encode()
    except UnicodeEncodeError:
        return _FILE + quote_from_bytes(os.fsencode(path))
    return path


def local_path(uri: str) -> str | None:
    """The path behind an address, None where it is of a store."""
    if uri.startswith(_FILE):
        path = uri[len(_FILE) :]
        path = path.removeprefix("localhost") if path.startswith("localhost/") else path
        return os.fsdecode(unquote_to_bytes(path))
    return None if _SCHEME.match(uri) else uri


def scheme_of(uri: str) -> str:
    """``s3`` of ``s3://…``; "" for a local path."""
    found = _SCHEME.match(uri)
    return found[0][:-3].lower() if found else ""


def open_store(uri: str, *, one_try: bool = True) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path in it. Listings are not cached.

    ``one_try`` switches off the retries of S3's own two layers, which would multiply with those of
    a :class:`~ssd_resnet34.batch.patience.Patience`.

    Raises:
        MissingExtra: fsspec, or the package for this scheme, is not installed.
        UsageError: no such scheme, or the file system refuses its configuration.
    """
    try:
        fsspec = import_module("fsspec.core")
    except ImportError as error:
        raise MissingExtra("batch needs fsspec: pip install 'ssd-resnet34[batch]'") from error
    options: dict[str, Any] = {"use_listings_cache": False}
    single = one_try and scheme_of(uri) in _S3
    if single:
        options["config_kwargs"] = {"retries": {"total_max_attempts": 1}}
    try:
        files, path = fsspec.url_to_fs(uri, **options)
    except ImportError as error:
        is_s3 = scheme_of(uri) in _S3
        mend = "pip install 'ssd-resnet34[s3]'" if is_s3 else "install that package"
        raise MissingExtra(f"{uri}: {error}; {mend}") from error
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{uri}: {error}; give a path, or a URI of a scheme that fsspec knows"
        ) from error
    if single:
        files.retries = 1
    return files, path
