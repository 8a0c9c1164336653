"""Run the command of the arguments; print its seconds, peak memory and exit code as JSON.

A script of its own, as small as can be: on Linux the peak of a child counts what its parent had
in memory when it was started, and the process that measures has a network in memory.
"""

import json
import os
import subprocess
import sys
import time


def launch(command: list[str]) -> dict[str, float | int | str | None]:
    """Its output is dropped, the end of stderr kept; ``peak`` in bytes, None on Windows."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    complaints = process.stderr.read().decode(errors="replace")
    peak = None
    if hasattr(os, "wait4"):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    code = process.wait()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak": peak, "code": code, "stderr": complaints[-500:]}


if __name__ == "__main__":
    print(json.dumps(launch(sys.argv[1:])))
