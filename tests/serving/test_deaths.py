"""Deaths of workers: delays, giving up, and inputs under suspicion."""

from ssd_resnet34.serving import deaths
from ssd_resnet34.serving.deaths import Quarantine, Restarts


def test_each_death_in_a_row_doubles_the_wait_up_to_a_bound() -> None:
    restarts = Restarts(8)
    waits = [restarts.died() for _ in range(8)]
    assert waits == [0.25, 0.5, 1, 2, 4, 8, 10, 10]
    assert restarts.died() is None
    assert restarts.count == 9


def test_an_answer_ends_a_row_of_deaths() -> None:
    restarts = Restarts(2)
    for _ in range(20):
        assert restarts.died() == 0.25
        restarts.answered()


def test_two_deaths_put_an_input_into_quarantine() -> None:
    some = Quarantine()
    assert not some.suspects(b"a")
    some.blame([b"a", b"b"])
    assert some.suspects(b"a")
    assert not some.holds(b"a")
    some.blame([b"a"])
    assert some.holds(b"a")
    assert some.suspects(b"b")
    assert not some.holds(b"b")
    assert not some.suspects(b"c")
    assert len(some) == 1


def test_an_input_that_comes_through_is_forgiven() -> None:
    some = Quarantine()
    some.blame([b"a"])
    some.forgive(b"a")
    some.blame([b"a"])
    assert not some.holds(b"a")


def test_an_input_that_runs_twice_at_the_same_time_is_blamed_once_for_one_death() -> None:
    some = Quarantine()
    some.blame([b"a", b"a"])
    assert some.suspects(b"a")
    assert not some.holds(b"a")


def test_suspects_are_remembered_up_to_a_number() -> None:
    some = Quarantine()
    some.blame(str(n).encode() for n in range(deaths._REMEMBERED + 1))
    assert not some.suspects(b"0")
    assert some.suspects(b"1")
