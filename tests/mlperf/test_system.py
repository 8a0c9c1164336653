"""The system under test: every sample is answered, once, whatever happens to the session."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from mlperf_answers import answers
from ssd_resnet34.errors import HeadsError
from ssd_resnet34.mlperf.system import Fault, Record, System, guarded, reason_of


class Receiver:
    """What LoadGen would be told."""

    def __init__(self) -> None:
        self.got: list[tuple[int, Record]] = []
        self.arrived = threading.Condition()

    def __call__(self, given: Sequence[tuple[int, Record]]) -> None:
        with self.arrived:
            self.got += given
            self.arrived.notify_all()

    def wait_for(self, count: int) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.got) >= count, 30)

    @property
    def ids(self) -> list[int]:
        return [number for number, _ in self.got]


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_every_sample_is_answered_with_its_own_record(
    receiver: Receiver, workers: int, batch: int
) -> None:
    system = System(answers, receiver, workers, batch)
    system.issue([(1000 + index, index) for index in range(50)])
    system.issue([(2000, 7)])
    receiver.wait_for(51)
    system.close()
    assert sorted(receiver.ids) == [*range(1000, 1050), 2000]
    for number, record in receiver.got:
        assert record[0, 0] == (7 if number == 2000 else number - 1000)
    assert (system.answered, system.open, system.fault) == (51, 0, None)


def test_a_batch_is_what_waits_and_no_more_than_asked_for(receiver: Receiver) -> None:
    sizes: list[int] = []
    hold = threading.Event()

    def detect(indices: Sequence[int]) -> list[Record]:
        sizes.append(len(indices))
        assert hold.wait(30)
        return answers(indices)

    system = System(detect, receiver, workers=1, batch=4)
    system.issue([(0, 0)])
    while not sizes:
        time.sleep(0.001)
    system.issue([(n, n) for n in range(1, 8)])  # seven wait while the first one runs
    hold.set()
    receiver.wait_for(8)
    system.close()
    assert sizes == [1, 4, 3]


def test_issue_returns_while_the_network_runs(receiver: Receiver) -> None:
    hold = threading.Event()

    def detect(indices: Sequence[int]) -> list[Record]:
        assert hold.wait(30)
        return answers(indices)

    system = System(detect, receiver, workers=1, batch=1)
    system.issue([(1, 1), (2, 2)])  # would never return if it waited
    assert system.open == 2
    hold.set()
    receiver.wait_for(2)
    system.close()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (HeadsError("cls_0 has NaN;\n check the weights"), "cls_0 has NaN; check the weights"),
        (ValueError("boom"), "ValueError: boom"),
        (MemoryError(), "MemoryError: "),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_a_failure_answers_all_with_nothing_and_keeps_its_reason(
    receiver: Receiver, error: BaseException, reason: str
) -> None:
    def detect(indices: Sequence[int]) -> list[Record]:
        if 3 in indices:
            raise error
        return answers(indices)

    faults: list[Fault] = []
    system = System(detect, receiver, workers=1, batch=1, on_fault=faults.append)
    system.issue([(n, n) for n in range(10)])
    receiver.wait_for(10)
    system.issue([(n, n) for n in range(10, 20)])  # LoadGen goes on asking
    receiver.wait_for(20)
    system.close()
    assert sorted(receiver.ids) == list(range(20))
    assert [record.size for _, record in sorted(receiver.got, key=lambda one: one[0])] == [
        *[7] * 3,
        *[0] * 17,
    ]
    assert faults == [Fault("failed", reason)]
    assert system.answered == 3


def test_a_stop_answers_what_a_hung_network_still_holds_and_never_twice(
    receiver: Receiver,
) -> None:
    hold, begun = threading.Event(), threading.Event()

    def detect(indices: Sequence[int]) -> list[Record]:
        begun.set()
        assert hold.wait(30)
        return answers(indices)

    system = System(detect, receiver, workers=1, batch=2)
    system.issue([(n, n) for n in range(5)])
    assert begun.wait(30)
    system.end(Fault("stopped", "stopped"))
    assert sorted(receiver.ids) == list(range(5))  # while the network still hangs
    hold.set()
    system.close()
    assert sorted(receiver.ids) == list(range(5))
    assert system.answered == 0


def test_the_first_reason_stays(receiver: Receiver) -> None:
    told: list[Fault] = []
    system = System(answers, receiver, 1, 1, told.append)
    system.end(Fault("stopped", "first"))
    system.end(Fault("failed", "second"))
    system.close()
    assert system.fault == Fault("stopped", "first")
    assert len(told) == 1


def test_too_few_records_are_a_failure_not_a_hang(receiver: Receiver) -> None:
    system = System(lambda indices: [], receiver, 1, 1)
    system.issue([(1, 1)])
    receiver.wait_for(1)
    system.close()
    assert system.fault is not None
    assert "ValueError" in system.fault.reason


def test_a_loadgen_that_refuses_an_answer_ends_the_run() -> None:
    done = threading.Event()

    def refuse(given: Any) -> None:
        raise RuntimeError("no")

    system = System(answers, refuse, 1, 1, lambda _: done.set())
    system.issue([(1, 1)])
    assert done.wait(30)
    system.close()
    assert system.fault == Fault("failed", "RuntimeError: no")


def test_no_exception_leaves_a_callback(receiver: Receiver) -> None:
    def bad(argument: Any) -> None:
        raise KeyError(argument)

    system = System(answers, receiver, 1, 1)
    guarded(system, bad)([1, 2])
    system.close()
    assert system.fault == Fault("failed", "KeyError: [1, 2]")


def test_reasons_are_one_line() -> None:
    assert reason_of(ValueError("a\n  b")) == "ValueError: a b"
