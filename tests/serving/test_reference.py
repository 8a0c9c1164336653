"""The documentation's tables are those of the code."""

import pytest

from conftest import REPOSITORY
from ssd_resnet34.serving.reference import BEGIN, END, into, markdown
from ssd_resnet34.serving.refusals import CODES


def test_the_documentation_has_the_limits_and_codes_of_the_code() -> None:
    page = (REPOSITORY / "docs" / "serve.md").read_text("utf-8")
    assert into(page) == page, "run python -m ssd_resnet34.serving.reference docs/serve.md"
    assert all(f"| `{name}` |" in page for name in CODES)


def test_a_page_without_its_marks_is_refused() -> None:
    for page in ("", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}", f"{BEGIN}{END}{END}"):
        with pytest.raises(ValueError, match="once each"):
            into(page)
    assert into(f"a{BEGIN}old{END}b") == f"a{BEGIN}\n\n{markdown()}\n\n{END}b"
