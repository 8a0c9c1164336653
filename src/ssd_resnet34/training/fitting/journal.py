"""What a run writes down as it goes: CSV files, and the same for TensorBoard."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final, Self

from ...errors import MissingExtra
from ...files import told
from ..rows import forget_after

STEPS: Final = "log.csv"
VALIDATIONS: Final = "validation.csv"
TENSORBOARD: Final = "tensorboard"


class Journal:
    """``log.csv`` (a row a step), ``validation.csv`` (a row an epoch) and ``tensorboard/``.

    Without ``out``, as in all processes of a run but the first, nothing is written.

    Rows after ``step`` and ``epoch``, which a killed run wrote after its last checkpoint, are
    dropped: they come again.

    Raises:
        MissingExtra: tensorboard is not installed.
        UsageError, OutputError: the files cannot be written.
    """

    def __init__(self, out: Path | None, step: int, epoch: int) -> None:
        self.out = out
        if out is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra(
                "training logs need tensorboard: pip install 'ssd-resnet34[train]'"
            ) from error
        self._files: dict[str, IO[str]] = {}
        for name, last in ((STEPS, step), (VALIDATIONS, epoch)):
            forget_after(out / name, last)
        with told(str(out / TENSORBOARD)):
            self._board = SummaryWriter(str(out / TENSORBOARD), purge_step=step + 1)

    def step(self, row: Mapping[str, float]) -> None:
        """A row of ``log.csv``; its first column is ``step``."""
        if self.out is None:
            return
        self._write(STEPS, row)
        self._show("train", row)

    def validation(self, row: Mapping[str, float]) -> None:
        """A row of ``validation.csv``; its first column is ``epoch``."""
        if self.out is None:
            return
        self._write(VALIDATIONS, row)
        self._show("validation", row)
        self.flush()

    def flush(self) -> None:
        """Hand what was written to the system, which keeps it when this process is killed."""
        if self.out is None:
            return
        for name, file in self._files.items():
            with told(str(self.out / name)):
                file.flush()
        with told(str(self.out / TENSORBOARD)):
            self._board.flush()

    def _write(self, name: str, row: Mapping[str, float]) -> None:
        assert self.out is not None
        path = self.out / name
        text = io.StringIO()
        writer = csv.DictWriter(text, list(row), lineterminator="\n")
        with told(str(path)):
            if name not in self._files:
                self._files[name] = path.open("a", newline="")
                if self._files[name].tell() == 0:
                    writer.writeheader()
            writer.writerow(row)
            self._files[name].write(text.getvalue())

    def _show(self, group: str, row: Mapping[str, float]) -> None:
        step = int(row["step"])
        for name, value in row.items():
            if name != "step":
                self._board.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        """Flush and close the files."""
        if self.out is None:
            return
        for name, file in self._files.items():
            with told(str(self.out / name)):
                file.close()
        self._board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(path: Path) -> list[dict[str, float]]:
    """The rows of a CSV file of a run."""
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
