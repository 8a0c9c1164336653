"""One run at a time: a living holder is respected, a dead one is recognised, here and elsewhere."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from small_batch import HASTY
from ssd_resnet34.batch import lock as locks
from ssd_resnet34.batch.lock import NAME, Lock
from ssd_resnet34.batch.place import LocalPlace
from ssd_resnet34.errors import OutputLocked


def place(tmp_path: Path) -> LocalPlace:
    return LocalPlace(tmp_path / "out", HASTY)


def test_a_second_run_is_refused_and_told_who_has_the_lock(tmp_path: Path) -> None:
    with Lock(place(tmp_path)):
        with pytest.raises(OutputLocked, match=f"process {os.getpid()}"), Lock(place(tmp_path)):
            pass
        assert place(tmp_path).names("_run") == ["lock"]
    assert place(tmp_path).names("_run") == []
    with Lock(place(tmp_path)):
        pass


def test_the_lock_of_a_process_that_is_gone_is_broken_at_once(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from ssd_resnet34.batch.lock import Lock\n"
        "from ssd_resnet34.batch.place import LocalPlace\n"
        "Lock(LocalPlace(Path(sys.argv[1]))).__enter__()\nos._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=True)
    assert place(tmp_path).names("_run") == ["lock"]
    notes: list[str] = []
    began = time.monotonic()
    with Lock(place(tmp_path), notes.append):
        assert time.monotonic() - began < locks.STALE / 2
    assert "is gone" in notes[0]


def test_a_reused_process_number_is_not_taken_for_the_holder(tmp_path: Path) -> None:
    holder = {**locks._this_process(), "started": "1", "token": "x", "beat": 0}
    place(tmp_path).write(NAME, json.dumps(holder).encode())
    with Lock(place(tmp_path)):
        pass


@pytest.mark.parametrize("field", ["host", "boot", "space"])
def test_a_holder_elsewhere_without_a_beat_is_taken_for_dead(tmp_path: Path, field: str) -> None:
    holder = {**locks._this_process(), field: "elsewhere", "token": "x", "beat": 3}
    place(tmp_path).write(NAME, json.dumps(holder).encode())
    notes: list[str] = []
    with Lock(place(tmp_path), notes.append, stale=0.3):
        pass
    assert "waiting 0.3 s" in notes[0]
    assert "taken for dead" in notes[1]


def test_a_holder_elsewhere_with_a_beat_is_respected(tmp_path: Path) -> None:
    holder = {**locks._this_process(), "host": "elsewhere", "token": "x", "beat": 3}
    place(tmp_path).write(NAME, json.dumps(holder).encode())

    def beat() -> None:
        time.sleep(0.3)
        place(tmp_path).write(NAME, json.dumps({**holder, "beat": 4}).encode())

    other = threading.Thread(target=beat)
    other.start()
    with pytest.raises(OutputLocked, match="elsewhere"), Lock(place(tmp_path), stale=5):
        pass
    other.join()


def test_a_lock_that_is_no_json_is_broken_like_one_without_a_beat(tmp_path: Path) -> None:
    place(tmp_path).write(NAME, b"")
    with Lock(place(tmp_path), stale=0.2):
        pass


def test_a_run_whose_lock_was_taken_over_stops_and_leaves_it(tmp_path: Path) -> None:
    with Lock(place(tmp_path), beat=0.05) as lock:
        beats = json.loads(place(tmp_path).read(NAME))["beat"]
        time.sleep(0.3)
        assert json.loads(place(tmp_path).read(NAME))["beat"] > beats
        lock.check()
        thief = {**locks._this_process(), "host": "thief", "token": "y", "beat": 0}
        end = time.monotonic() + 10
        while not lock._lost and time.monotonic() < end:
            # Again and again, as its own beat does: a beat of ours may have come in between.
            place(tmp_path).write(NAME, json.dumps(thief).encode())
            time.sleep(0.02)
        with pytest.raises(OutputLocked, match="thief"):
            lock.check()
    assert json.loads(place(tmp_path).read(NAME))["token"] == "y"


def test_of_many_that_break_a_stale_lock_one_gets_it(tmp_path: Path) -> None:
    holder = {**locks._this_process(), "started": "1", "token": "x", "beat": 0}
    place(tmp_path).write(NAME, json.dumps(holder).encode())
    inside: list[int] = []
    most = []
    start = threading.Barrier(6)

    def contend(n: int) -> None:
        start.wait()
        try:
            with Lock(place(tmp_path)):
                inside.append(n)
                most.append(len(inside))
                time.sleep(1.0)
                inside.remove(n)
        except OutputLocked:
            pass

    threads = [threading.Thread(target=contend, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most
    assert max(most) == 1


def test_one_that_stands_still_while_it_breaks_a_lock_takes_no_other(tmp_path: Path) -> None:
    class Slow(LocalPlace):
        def remove(self, name: str) -> None:
            if name == NAME and json.loads(self.read(name))["token"] == "x":
                time.sleep(3 * locks._SETTLE)
            super().remove(name)

    holder = {**locks._this_process(), "started": "1", "token": "x", "beat": 0}
    place(tmp_path).write(NAME, json.dumps(holder).encode())
    inside: list[int] = []
    most = []

    def contend(where: LocalPlace) -> None:
        with contextlib.suppress(OutputLocked), Lock(where):
            inside.append(1)
            most.append(len(inside))
            time.sleep(5 * locks._SETTLE)
            inside.pop()

    slow = threading.Thread(target=contend, args=(Slow(tmp_path / "out", HASTY),))
    slow.start()
    time.sleep(locks._SETTLE / 3)
    contend(place(tmp_path))
    slow.join()
    assert most
    assert max(most) == 1
    assert place(tmp_path).names("_run") == []


def test_a_mark_left_by_one_that_died_while_it_broke_a_lock_is_passed_over(tmp_path: Path) -> None:
    holder = {**locks._this_process(), "started": "1", "token": "x", "beat": 0}
    place(tmp_path).write(NAME, json.dumps(holder).encode())
    place(tmp_path).write(locks._mark(holder), b"")
    with Lock(place(tmp_path), stale=0.3):
        pass
    assert place(tmp_path).names("_run") == []


def test_of_several_that_pass_over_such_a_mark_none_removes_the_mark_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = {**locks._this_process(), "started": "1", "token": "x", "beat": 0}
    mark = locks._mark(holder)
    where = place(tmp_path)
    where.write(NAME, json.dumps(holder).encode())
    where.write(mark, b"{}")
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        before, now = now, now + seconds
        if before < 50 <= now:  # another has found the mark stale, and made its own
            where.write(mark, b'{"token": "y"}')
        if before < 70 <= now:  # and is done
            where.remove(NAME)
            where.remove(mark)

    monkeypatch.setattr(locks, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    Lock(where, stale=60)._break(holder)
    assert now >= 70
    assert where.names("_run") == []


@pytest.mark.parametrize("pid", [10**30, -1, 0, "many", None])
def test_a_number_that_no_process_has_is_no_living_holder(tmp_path: Path, pid: object) -> None:
    holder = {**locks._this_process(), "pid": pid, "token": "x", "beat": 0}
    place(tmp_path).write(NAME, json.dumps(holder).encode())
    with Lock(place(tmp_path)):
        pass


def test_a_lock_that_cannot_be_read_has_a_holder_without_a_name(tmp_path: Path) -> None:
    place(tmp_path).write(NAME, b"[" * 100_000)
    notes: list[str] = []
    with Lock(place(tmp_path), notes.append, stale=0.1):
        pass
    assert "locked by a run elsewhere (unknown, process unknown)" in notes[0]
