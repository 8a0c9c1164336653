"""What mkdocs does to each page: to roles of docstrings, and to names with hyphens in them."""

import re
from typing import Any, Final

_ROLE: Final = re.compile(
    r":(?:attr|class|data|func|meth|mod):<code>(?P<short>~?)\.*(?P<name>[^<]+)</code>"
)
_CODE: Final = re.compile(r"(?<=<code>)[^<\n]+(?=</code>)")
_HYPHENS: Final = re.compile(r"(?<!\S)(?=\S*-)[^\s&]{2,30}(?!\S)")


def on_page_content(html: str, **_: Any) -> str:
    """The page's HTML with docstrings' roles as code, and ``--options`` kept on one line.

    Of a role such as ``:func:`name``` the code is left, of one with ``~`` its last part alone.
    """
    return _CODE.sub(_in_one_piece, _ROLE.sub(_as_code, html))


def _as_code(role: re.Match[str]) -> str:
    name = role["name"]
    return f"<code>{name.rpartition('.')[2] if role['short'] else name}</code>"


def _in_one_piece(code: re.Match[str]) -> str:
    """The words of inline code that a browser would break after a hyphen, each as one piece."""
    return _HYPHENS.sub(r'<span class="whole">\g<0></span>', code[0])
