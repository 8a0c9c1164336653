"""Which pages and figures are generated, whole or in part, and what they should hold."""

import re
from pathlib import Path
from typing import Final

from .commands import commands
from .figures import FIGURES
from .licences import licences
from .tables import TABLES

REPOSITORY: Final = Path(__file__).resolve().parent.parent
DOCS: Final = REPOSITORY / "docs"

_PART: Final = re.compile(r"<!-- generated: (?P<name>[a-z-]+) -->\n.*?<!-- end -->", re.DOTALL)


def wanted() -> dict[Path, bytes]:
    """Every file of which at least a part is generated, as it should be.

    Raises:
        KeyError: a page asks for a table that there is not.
    """
    files = {DOCS / "figures" / f"{name}.svg": draw().encode() for name, draw in FIGURES.items()}
    files[DOCS / "reference" / "commands.md"] = commands().encode()
    files[DOCS / "licences.md"] = licences().encode()
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text("utf-8")
        if page not in files and _PART.search(text):
            files[page] = filled(text).encode()
    return files


def filled(text: str) -> str:
    """A page with what stands between its marks replaced by the tables they name.

    Raises:
        KeyError: no such table.
    """

    def table(mark: re.Match[str]) -> str:
        name = mark["name"]
        return f"<!-- generated: {name} -->\n\n{TABLES[name]()}\n\n<!-- end -->"

    return _PART.sub(table, text)
