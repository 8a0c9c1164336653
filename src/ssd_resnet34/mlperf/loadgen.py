"""LoadGen itself (extra ``[mlperf]``): the only module that knows its Python interface."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ..errors import LoadGenError, MissingExtra
from .library import Library
from .rounds import SAMPLES, Round, Scenario
from .settings import Layer, Mode, Setting, apply
from .system import Record, System, guarded

SUMMARY: Final = "mlperf_log_summary.txt"
DETAIL: Final = "mlperf_log_detail.txt"
ACCURACY: Final = "mlperf_log_accuracy.json"
TRACE: Final = "mlperf_log_trace.json"

LOGS: Final = (SUMMARY, DETAIL, ACCURACY, TRACE)
"""The standard names."""

_MODES: Final = {"performance": "PerformanceOnly", "accuracy": "AccuracyOnly"}


def module() -> Any:
    """``mlperf_loadgen``.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import mlperf_loadgen
    except ImportError as error:
        raise MissingExtra(
            "the benchmark needs LoadGen: pip install 'ssd-resnet34[mlperf]'"
        ) from error
    return mlperf_loadgen


class Test:
    """One test of LoadGen's: settings first, then the run.

    Args:
        found: files in ``folder``, which must exist: LoadGen aborts the process without it.
    """

    def __init__(
        self, found: Sequence[Layer], folder: Path, chosen: Round, scenario: Scenario, mode: Mode
    ) -> None:
        loadgen = self._loadgen = module()
        self._folder = folder
        self._settings = loadgen.TestSettings()
        self.settings: tuple[Setting, ...] = apply(self._settings, found, folder, chosen, scenario)
        """What LoadGen holds."""
        self._settings.scenario = getattr(loadgen.TestScenario, scenario)
        self._settings.mode = getattr(loadgen.TestMode, _MODES[mode])

    def complete(self, answers: Sequence[tuple[int, Record]]) -> None:
        """Hand answers over. LoadGen copies the bytes before it returns."""
        loadgen = self._loadgen
        loadgen.QuerySamplesComplete(
            [
                # The address of an empty array is no place to read from.
                loadgen.QuerySampleResponse(number, record.ctypes.data, record.nbytes)
                if record.nbytes
                else loadgen.QuerySampleResponse(number, 0, 0)
                for number, record in answers
            ]
        )

    def run(self, system: System, library: Library[Any], total: int) -> None:
        """Blocks until LoadGen is done; logs are in the folder then.

        Raises:
            LoadGenError: it refuses the settings, or they ask for more queries than memory holds.
        """
        loadgen = self._loadgen
        output = loadgen.LogOutputSettings()
        output.outdir = str(self._folder)
        output.copy_summary_to_stdout = False
        logging = loadgen.LogSettings()
        logging.log_output = output
        logging.enable_trace = False  # on by default, and without a limit

        def issue(queries: Sequence[Any]) -> None:
            system.issue([(query.id, query.index) for query in queries])

        under_test = loadgen.ConstructSUT(guarded(system, issue), lambda: None)
        samples = loadgen.ConstructQSL(
            total,
            min(SAMPLES, total),
            guarded(system, library.load),
            guarded(system, library.unload),
        )
        try:
            loadgen.StartTestWithLogSettings(
                under_test,
                samples,
                self._settings,
                logging,
                # Else an audit.config in the current folder would change the run.
                str(self._folder / "no-audit.config"),
            )
        except RuntimeError as error:
            raise LoadGenError(f"LoadGen cannot run this test: {error}; report it") from error
        except MemoryError as error:
            raise LoadGenError(
                "LoadGen has no memory for the queries that it makes beforehand; in user.conf give "
                "a longer target_latency, or a smaller target_qps or min_query_count"
            ) from error
        finally:
            loadgen.DestroyQSL(samples)
            loadgen.DestroySUT(under_test)
