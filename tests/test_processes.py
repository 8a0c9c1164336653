"""Children that the signals of a command do not reach, from their first moment on."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import multiprocessing, signal
from ssd_resnet34.processes import signals_blocked

def tell():
    print(*sorted(one.name for one in signal.pthread_sigmask(signal.SIG_BLOCK, [])))

if __name__ == "__main__":
    for _ in range(2):
        child = multiprocessing.get_context("spawn").Process(target=tell)
        with signals_blocked():
            child.start()
        child.join()
    tell()
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="POSIX signals")
def test_the_first_child_is_as_deaf_as_the_others_and_its_parent_hears_again(
    tmp_path: Path,
) -> None:
    """multiprocessing starts a process of its own with the first, and unblocks signals then."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    told = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == ["SIGINT SIGTERM", "SIGINT SIGTERM", ""]
