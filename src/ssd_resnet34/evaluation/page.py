"""One HTML file that needs nothing else: templates, style and a policy that forbids the rest."""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import MissingExtra
from ..vision.images import printable
from .coco import UNDEFINED

if TYPE_CHECKING:
    from jinja2 import Environment

PAGES: Final = Path(__file__).parent / "pages"


def render(template: str, *, folder: Path = PAGES, **values: Any) -> bytes:
    """The template of that name as UTF-8; those of another room lie in a ``folder`` of theirs, and
    build on ``page.html`` and ``parts.html`` of this one.

    Every value is escaped, and shown on one line: names of files and classes are anybody's. The
    same values give the same bytes. The policy lets the browser load nothing, run nothing and use
    no style but the page's own.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    style = (PAGES / "page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    page = _templates(folder).get_template(template)
    return page.render(style=style, style_hash=digest, **values).encode()


def check_installed() -> None:
    """Tell now what :func:`render` would tell after hours of a network.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    _templates(PAGES)


@cache
def _templates(folder: Path) -> "Environment":
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise MissingExtra("the report needs jinja2: pip install 'ssd-resnet34[eval]'") from error

    def one_line(value: Any) -> Any:
        return printable(value) if isinstance(value, str) and type(value) is not Markup else value

    made = Environment(
        loader=FileSystemLoader([folder, PAGES]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=one_line,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "change": change, "grouped": grouped, "markup": Markup}
    return made


def number(value: float) -> str:
    """0..1 with three digits, – where undefined."""
    return "–" if value == UNDEFINED else f"{value:.3f}"


def change(pair: tuple[float, float]) -> str:
    """From the first to the second, with its sign; – where one is undefined."""
    return "–" if UNDEFINED in pair else f"{pair[1] - pair[0]:+.3f}".replace("-", "−")


def grouped(value: int) -> str:
    """Thousands apart."""
    return f"{value:,}"
