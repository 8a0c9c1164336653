"""The waiting line: its room, its order, and who must wait alone."""

import pytest

from ssd_resnet34.serving.line import Budget, Line, Ticket
from ssd_resnet34.serving.options import Selection
from ssd_resnet34.serving.refusals import Refused
from ssd_resnet34.serving.tasks import Detect


def ticket(alone: bool = False) -> Ticket:
    return Ticket(Detect(b"x", "", Selection(), "json"), alone)


def line(seconds: float = 1.0, deadline: float = 5.0, lanes: int = 1) -> Line:
    made = Line(deadline, lanes)
    made.measured(seconds)
    return made


def test_the_room_is_what_can_be_answered_in_time() -> None:
    assert line(1.0, 5.0).capacity == 5
    assert line(0.9, 5.0, lanes=2).capacity == 10
    assert line(9.0, 5.0, lanes=2).capacity == 2, "a lane always takes one"


def test_a_full_line_refuses_and_says_when_to_come_back() -> None:
    full = line(2.0, 10.0, lanes=2)
    full.enter([ticket() for _ in range(9)])
    with pytest.raises(Refused) as error:
        full.enter([ticket(), ticket()])
    assert error.value.status == 429
    assert error.value.retry_after == 9
    assert full.inside == 9, "a request enters whole or not at all"
    full.enter([ticket()])
    with pytest.raises(Refused):
        full.check()


def test_a_refusal_tells_what_waiting_mends_from_what_it_does_not() -> None:
    busy = line(2.0, 10.0)
    busy.enter([ticket()])
    with pytest.raises(Refused, match=r"no room: 1 of 5 places .* try again later"):
        busy.check(5)
    with pytest.raises(Refused, match=r"a request of 6 images, and 5 at most .* send fewer"):
        busy.check(6)


def test_running_tickets_take_room_until_they_leave() -> None:
    one = line(1.0, 1.0)
    first = ticket()
    one.enter([first])
    assert one.next(idle=True) is first
    with pytest.raises(Refused):
        one.check()
    assert not one.leave(first)
    one.check()


def test_tickets_run_in_order_and_may_leave_before() -> None:
    some = line()
    a, b, c = (ticket() for _ in range(3))
    some.enter([a, b, c])
    assert some.leave(b)
    assert not some.leave(b)
    assert [some.next(idle=True), some.next(idle=False), some.next(idle=True)] == [a, c, None]


def test_a_suspect_waits_for_an_idle_worker() -> None:
    some = line()
    suspect = ticket(alone=True)
    some.enter([suspect, ticket()])
    assert some.next(idle=False) is None
    assert some.next(idle=True) is suspect


def test_the_service_time_follows_slowly() -> None:
    some = line(1.0)
    some.measured(2.0)
    assert some.service == pytest.approx(1.2)
    for _ in range(50):
        some.measured(0.5)
    assert some.service == pytest.approx(0.5, abs=0.01)


def test_before_any_measurement_there_is_some_room() -> None:
    assert Line(10.0, 1).capacity > 0


def test_bytes_are_counted_and_given_back() -> None:
    budget = Budget(10)
    budget.take(6)
    with pytest.raises(Refused) as error:
        budget.take(5)
    assert error.value.status == 429
    assert budget.used == 6
    budget.give_back(6)
    budget.take(10)
