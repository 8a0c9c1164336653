"""Progress on stderr where there is no terminal."""

import sys
import time
from collections.abc import Callable

import pytest

from fake_clock import FakeClock
from ssd_resnet34.cli.terminal import progress, status

Said = Callable[..., list[str]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Said:
    """``said(total, seconds)``: what stderr gets of steps that take so many seconds each."""
    clock = FakeClock()
    monkeypatch.setattr(time, "monotonic", clock)

    def run(total: int | None, seconds: float, steps: int, *, quiet: bool = False) -> list[str]:
        work = clock.taking(seconds)
        with progress("eval", total, quiet=quiet) as ticker:
            for _ in range(steps):
                work()
                ticker.advance()
        return capfd.readouterr().err.splitlines()

    return run


def test_long_work_has_a_line_every_half_a_minute_but_none_at_its_end(said: Said) -> None:
    lines = said(1200, 0.5, 1200)
    counts = [f"progress: eval, {n:,} of 1,200" for n in range(60, 1200, 60)]
    assert [line.partition(", about")[0] for line in lines] == counts


def test_a_line_says_about_how_many_minutes_are_left(said: Said) -> None:
    lines = said(1200, 0.5, 1200)
    assert lines[0].endswith(", about 10 min left")
    assert lines[-1].endswith(" of 1,200")


def test_slow_steps_have_a_line_each(said: Said) -> None:
    assert said(3, 40, 3) == [
        "progress: eval, 1 of 3, about 80 s left",
        "progress: eval, 2 of 3",
    ]


def test_work_of_unknown_length_counts(said: Said) -> None:
    assert said(None, 10, 7) == ["progress: eval, 3 done", "progress: eval, 6 done"]


def test_short_work_and_quiet_work_say_nothing(said: Said) -> None:
    assert said(100, 0.2, 100) == []
    assert said(100, 60, 100, quiet=True) == []


def test_work_that_takes_more_steps_than_were_expected_goes_on_to_tell(said: Said) -> None:
    assert said(2, 40, 4)[1:] == ["progress: eval, 3 of 2", "progress: eval, 4 of 2"]


@pytest.mark.parametrize(("quiet", "told"), [(False, ["0", "2", "4", "5"]), (True, [])])
def test_a_run_in_its_own_words_has_a_line_when_it_is_due_and_where_it_must(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], quiet: bool, told: list[str]
) -> None:
    clock = FakeClock()
    monkeypatch.setattr(time, "monotonic", clock)
    with status("loading", quiet=quiet, every=60) as shown:
        for step, work in enumerate([clock.taking(30)] * 6):
            shown.show(f"{step}", step, 6, always=step in (0, 5))
            work()
        assert not shown.is_due()
    assert capfd.readouterr().err.splitlines() == [f"progress: {one}" for one in told]


def test_on_a_terminal_the_words_are_beside_the_bar(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with status("loading", quiet=False, every=60) as shown:
        shown.show("epoch 1/2 [bold]", 1, 2)
    err = capfd.readouterr().err
    assert "epoch 1/2 [bold]" in err
    assert "progress: " not in err
