"""What mkdocs does to each page: roles of docstrings, such as ``:func:`name```, become code."""

import re
from typing import Any, Final

_ROLE: Final = re.compile(
    r":(?:attr|class|data|func|meth|mod):<code>(?P<short>~?)\.*(?P<name>[^<]+)</code>"
)


def on_page_content(html: str, **_: Any) -> str:
    """The page's HTML with the roles of docstrings as code; ``~`` leaves the last part alone."""
    return _ROLE.sub(_as_code, html)


def _as_code(role: re.Match[str]) -> str:
    name = role["name"]
    return f"<code>{name.rpartition('.')[2] if role['short'] else name}</code>"
