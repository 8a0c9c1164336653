"""How numbers are written for people."""

import pytest

from ssd_resnet34.wording import counted, figures


@pytest.mark.parametrize(
    ("value", "text"), [(0.9374, "0.937"), (82, "82"), (990.35, "990"), (1001.8, "1,002")]
)
def test_figures_have_no_exponent(value: float, text: str) -> None:
    assert figures(value) == text


def test_one_of_a_thing_is_not_said_in_the_plural() -> None:
    assert [counted(n, "image") for n in (0, 1, 5000)] == ["0 images", "1 image", "5,000 images"]
