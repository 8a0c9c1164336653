"""``ssd-resnet34 mlperf``: the benchmark by its own LoadGen, and accuracy logs of any system."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from .. import files
from ..evaluation import coco
from ..evaluation.dataset import Dataset, scored_categories, some
from ..mlperf import gate, loadgen, logs, rounds, running, user_conf
from ..mlperf.job import Job, Pulse, Ready
from ..mlperf.rounds import Scenario
from ..wording import counted, span
from . import mlperf_report
from .eval_inputs import annotated
from .mlperf_report import Report, setting_lines
from .options import (
    Annotations,
    AsJson,
    ByLog,
    ByNms,
    Device,
    Engine,
    Images,
    ImageSet,
    InPrecision,
    Nms,
    NoNotes,
    Precision,
    Threads,
    Weights,
)
from .terminal import Ticker, complain, progress
from .weights_notes import note_embedded, note_size

RUN_EXAMPLES: Final = """Examples:

ssd-resnet34 mlperf run samples/scene.json samples --quick -o trial

ssd-resnet34 mlperf run val.json val2017/ --mode accuracy -o accuracy

ssd-resnet34 mlperf run val.json val2017/ --scenario server
--user-conf user.conf --weights mlcommons -o server
"""

ACCURACY_EXAMPLES: Final = """Examples:

ssd-resnet34 mlperf accuracy mlperf_log_accuracy.json instances_val2017.json

ssd-resnet34 mlperf accuracy log.json val.json --log-classes index --json
"""

app = typer.Typer(
    no_args_is_help=True,
    help="The benchmark as MLPerf Inference defines it, rounds v0.5 to v2.0.",
    epilog="Examples:\n\nssd-resnet34 mlperf run samples/scene.json samples --quick -o trial",
)


class ScenarioName(StrEnum):
    """How queries come."""

    singlestream = "singlestream"
    multistream = "multistream"
    server = "server"
    offline = "offline"


class ModeName(StrEnum):
    """What is found out."""

    performance = "performance"
    accuracy = "accuracy"


class RoundName(StrEnum):
    """Whose rules count."""

    v0_5 = "v0.5"
    v0_7 = "v0.7"
    v1_0 = "v1.0"
    v1_1 = "v1.1"
    v2_0 = "v2.0"


_SCENARIOS: Final[dict[ScenarioName, Scenario]] = {
    ScenarioName.singlestream: "SingleStream",
    ScenarioName.multistream: "MultiStream",
    ScenarioName.server: "Server",
    ScenarioName.offline: "Offline",
}


@app.command("run", epilog=RUN_EXAMPLES)
def run(
    context: typer.Context,
    annotations: Annotations,
    images: Annotated[
        Path, typer.Argument(metavar="IMAGES", help="Their folder.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="For the logs.", show_default=False)
    ],
    scenario: Annotated[
        ScenarioName,
        typer.Option(
            metavar="SCENARIO", help="How queries come: singlestream, multistream, server, offline."
        ),
    ] = ScenarioName.singlestream,
    mode: Annotated[
        ModeName, typer.Option(help="Speed, or mAP on every image.")
    ] = ModeName.performance,
    round_name: Annotated[
        RoundName,
        typer.Option(
            "--round", metavar="ROUND", help="Whose rules count: v0.5, v0.7, v1.0, v1.1 or v2.0."
        ),
    ] = RoundName.v2_0,
    user: Annotated[
        Path | None,
        typer.Option("--user-conf", metavar="FILE", help="Default: measured before the run."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few queries and easy limits; not a submission.")
    ] = False,
    image_set: ImageSet = Images.all,
    weights: Weights = "embedded",
    engine: Engine = "auto",
    precision: InPrecision = Precision.auto,
    device: Device = "cpu",
    threads: Threads = None,
    nms: ByNms = Nms.exact,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds without any answer that end a run.")
    ] = 120,
    as_json: AsJson = False,
    quiet: NoNotes = False,
) -> None:
    """Run LoadGen on this detector and compare the result with those of the rounds.

    Writes LoadGen's logs, the settings that it had, and a report into DIR.

    Ctrl-C ends a run in order; its logs then are no result and stay apart.

    Exit code 1 where LoadGen calls the result INVALID, or mAP is under the gate.
    """
    loadgen.module()
    if mode is ModeName.accuracy:
        coco.check_installed()  # now, not after a run of hours
    chosen, way = rounds.get(round_name.value), _SCENARIOS[scenario]
    chosen.rules(way)
    conf = None if user is None else user_conf.read(user, way)
    whole, dataset = annotated(annotations, image_set)
    job = Job(
        round=chosen.name,
        scenario=way,
        mode=mode.value,
        quick=quick,
        user=conf,
        images=running.samples(dataset, images, quick=quick),
        folder="",
        weights=weights,
        engine=engine,
        device=device,
        precision=precision.value,
        threads=threads,
        nms=nms.value,
        timeout=timeout,
    )
    if mode is ModeName.accuracy:
        note_embedded(context, quiet=quiet)
    if conf is not None and conf.others and not quiet:
        complain(f"{conf.path}: its lines for {', '.join(conf.others)} are of no use here", "note")
    with _Shown(job, dataset, quiet) as shown, _stops() as stops:
        finished = running.run(job, out, stops=stops, on_ready=shown.begin, on_pulse=shown.beat)
    report = _reported(job, whole, dataset, finished, out)
    if as_json:
        print(json.dumps(mlperf_report.describe(report), indent=2))
    else:
        mlperf_report.show(report, out)
    if not report.good:
        raise typer.Exit(1)


@app.command("accuracy", epilog=ACCURACY_EXAMPLES)
def accuracy(
    log: Annotated[
        Path, typer.Argument(metavar="LOG", help="mlperf_log_accuracy.json.", show_default=False)
    ],
    annotations: Annotations,
    image_set: ImageSet = Images.all,
    log_classes: ByLog = None,
    as_json: AsJson = False,
) -> None:
    """Score an accuracy log, of this system or another, against the gate of 19.8 %.

    Its last lines are those of a submission's accuracy.txt.

    Exit code 1 where mAP is under the gate or images are missing.
    """
    whole, dataset = annotated(annotations, image_set)
    verdict = gate.judge(log, whole, dataset, log_classes.value if log_classes else None)
    for note in verdict.notes:
        complain(note, "note")
    if as_json:
        print(json.dumps(mlperf_report.describe_verdict(verdict), indent=2))
    else:
        mlperf_report.show_verdict(verdict)
        print(gate.accuracy_text(verdict), end="")
    if not verdict.passed:
        raise typer.Exit(1)


def _reported(
    job: Job, whole: Dataset, dataset: Dataset, finished: running.Finished, out: Path
) -> Report:
    """The report of a run, also as files beside its logs; ``run.json`` is the last."""
    result = verdict = None
    if job.mode == "performance":
        result = logs.result(finished.detail, rounds.get(job.round), job.scenario)
    else:
        verdict = gate.judge(out / loadgen.ACCURACY, whole, dataset, "category_id")
        for note in verdict.notes:
            complain(note, "note")
        files.write(out / running.ACCURACY_TEXT, gate.accuracy_text(verdict).encode())
    report = Report(job, dataset.path, finished, result, verdict)
    if report.rows:
        mlperf_report.save_plot(report, out / running.PLOT)
    described = json.dumps(mlperf_report.describe(report), indent=2)
    files.write(out / running.RECORD, f"{described}\n".encode())
    return report


class _Shown:
    """A run on stderr: its settings, then a bar, or lines where there is no terminal."""

    def __init__(self, job: Job, dataset: Dataset, quiet: bool) -> None:
        self.job, self.dataset, self.quiet = job, dataset, quiet
        self.stack = ExitStack()
        self.ticker = Ticker(None)
        self.answered = 0

    def __enter__(self) -> "_Shown":
        return self

    def __exit__(self, *_: Any) -> None:
        self.stack.close()

    def begin(self, ready: Ready) -> None:
        """
        Raises:
            UsageError: an accuracy run whose categories mean something else to the model.
        """
        if self.job.mode == "accuracy":
            _, strange = scored_categories(self.dataset, ready.contract)
            if strange:
                complain(
                    f"the model has no {some(strange)}: the benchmark counts them as missed, "
                    "`eval` leaves them out",
                    "note",
                )
        note_size(ready.facts.weights, ready.facts.trained_size, quiet=self.quiet)
        if not self.quiet:
            complain(ready.facts.summary, "system")
            for line in setting_lines(ready.settings, self.job):
                complain(line, "setting")
            complain(f"about {counted(ready.samples, 'sample')}, {span(ready.seconds)}", "note")
        self.ticker = self.stack.enter_context(
            progress("loadgen", ready.samples, quiet=self.quiet, at_end=True)
        )

    def beat(self, pulse: Pulse) -> None:
        self.ticker.advance(pulse.answered - self.answered)
        self.answered = pulse.answered


@contextmanager
def _stops() -> Iterator[Callable[[], int]]:
    """How often Ctrl-C or SIGTERM asked for an end so far."""
    asked = told = 0

    def ask(*_: Any) -> None:
        nonlocal asked
        asked += 1

    def stops() -> int:
        nonlocal told
        if asked and not told:
            told = 1
            complain("ending the run; once more ends it at once", "note")
        return asked

    before = {one: signal.signal(one, ask) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stops
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
