"""A journal: what was written whole is found again, whatever happened to the rest."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_resnet34.evaluation.journal import Journal

KEY = {"model": "a", "threshold": 0.05}
ROWS = [(n, [n, 10 * n], {"detections": [0.1 * n], "image": "ü\n"}) for n in range(5)]


def fill(folder: Path, rows: Any = ROWS) -> Path:
    with Journal(KEY, folder) as journal:
        for row in rows:
            journal.add(*row)
    return journal.path


def found(folder: Path, key: Any = KEY) -> dict[int, tuple[Any, Any]]:
    with Journal(key, folder) as journal:
        return journal.found


def test_what_was_added_is_found_again(tmp_path: Path) -> None:
    fill(tmp_path)
    assert found(tmp_path) == {n: (stamp, value) for n, stamp, value in ROWS}


def test_another_key_finds_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    assert found(tmp_path, KEY | {"threshold": 0.3}) == {}
    assert len(found(tmp_path)) == len(ROWS)  # and leaves the first one alone


def test_a_finished_journal_is_gone(tmp_path: Path) -> None:
    with Journal(KEY, tmp_path) as journal:
        journal.add(*ROWS[0])
        journal.finish()
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60)
@given(share=st.floats(0, 1), junk=st.binary(max_size=20))
def test_a_journal_that_was_cut_anywhere_goes_on(
    tmp_path_factory: pytest.TempPathFactory, share: float, junk: bytes
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    path = fill(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))] + junk)
    kept = found(folder)
    for number, (stamp, value) in kept.items():
        assert (number, stamp, value) == ROWS[number]
    head = whole.index(b"\n") + 1
    if share * len(whole) >= head:
        lines = whole[head : int(share * len(whole))].count(b"\n")
        assert lines <= len(kept) <= lines + 1
    fill(folder, ROWS[:2])
    again = found(folder)
    assert {0, 1} <= set(again) <= set(range(5))
    assert all((n, *again[n]) == ROWS[n] for n in again)


def test_lines_of_several_threads_do_not_mix(tmp_path: Path) -> None:
    with Journal(KEY, tmp_path) as journal:
        threads = [
            threading.Thread(target=journal.add, args=(n, [n], {"value": "x" * 50_000}))
            for n in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(found(tmp_path)) == list(range(16))


def test_where_it_cannot_be_written_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with Journal(KEY, tmp_path / "file") as journal:
        journal.add(*ROWS[0])
        journal.finish()
    assert "SSD_RESNET34_CACHE" in caplog.text


def test_a_full_disk_does_not_end_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Journal(KEY, tmp_path) as journal:
        assert journal._file is not None
        journal._file.close()
        journal._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115  # the journal closes it
        journal.add(*ROWS[0])
        journal.add(*ROWS[1])
    assert caplog.text.count("No space left") == 1


def test_journals_that_nobody_finished_go_after_a_month(tmp_path: Path) -> None:
    path = fill(tmp_path)
    other = tmp_path / "other.txt"
    other.touch()
    for one in (path, other):
        os.utime(one, (0, 0))
    found(tmp_path, {"another": "run"})
    assert not path.exists()
    assert other.exists()


def test_the_default_folder_is_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSD_RESNET34_CACHE", str(tmp_path))
    with Journal(KEY) as journal:
        assert journal.path.parent == tmp_path / "evaluations"
    assert json.loads(journal.path.read_text()) == {"key": KEY}
