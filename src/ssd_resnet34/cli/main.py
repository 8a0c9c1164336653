"""The command's entry: joins the subcommands, turns errors into one line and an exit code."""

import io
import os
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any, Final

import typer
import typer.core

from .. import __version__
from ..errors import SSDResNet34Error, UsageError
from .terminal import complain

NAME: Final = "ssd-resnet34"
"""However it was started; ``python -m ssd_resnet34`` is completed and explained alike."""

FAILED: Final = 1
BAD_USAGE: Final = 2
INTERRUPTED: Final = 130
"""Of Ctrl-C, as shells have it; commands that keep what there is end with 1 and their own words."""

COMMANDS: Final = (
    "detect",
    "compile",
    "check",
    "eval",
    "bench",
    "train",
    "export",
    "serve",
    "info",
    "batch",
    "mlperf",
    "weights",
)
"""In the order of the help; each has a module of its name."""


class _Group(typer.core.TyperGroup):
    """The library says what is wrong with a value in the words of its own validator, and nothing
    of an interruption."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr, flush=True)
            raise typer.Exit(INTERRUPTED) from None
        except typer.BadParameter as error:  # of any command below
            error.message = plain(error.message)
            raise


def plain(message: str) -> str:
    """What is wrong with a value, for people.

    >>> plain("Input should be a valid integer, unable to parse string as an integer")
    'must be a valid integer'
    """
    message = message.removeprefix("Value error, ")
    return re.sub(r", unable to parse .*", "", message).replace("Input should be", "must be")


def application(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The command line with these of the :data:`COMMANDS`."""
    app = typer.Typer(
        name=NAME,
        cls=_Group,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
        help="SSD-ResNet34 1200×1200 object detection: detect, measure, deploy.",
        epilog="Exit codes: 0 done, 1 failed, 2 bad usage, 3 done with some inputs refused, "
        "130 interrupted (Ctrl-C).",
    )
    app.callback()(_options)
    for name in names:
        module = import_module(f".{name}", __package__)
        if hasattr(module, "app"):  # a group
            app.add_typer(module.app, name=name)
        else:  # some names are those of Python itself
            function = getattr(module, name, None) or getattr(module, f"{name}_")
            app.command(name, epilog=module.EXAMPLES)(function)
    return app


def needed(arguments: Sequence[str]) -> Sequence[str]:
    """The one command that is run, or all: the modules of the others are 0.2 s of each start."""
    return arguments[:1] if arguments and arguments[0] in COMMANDS else COMMANDS


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options before the command; --version ends in its callback."""


def main() -> None:
    """Run the command line; never shows a traceback for an error of this package."""
    _check_streams()
    try:
        try:
            application(needed(sys.argv[1:]))(prog_name=NAME)
        finally:
            sys.stdout.flush()  # what a closed pipe refuses is told here, not at the very end
    except UsageError as error:
        complain(error.lines)
        sys.exit(BAD_USAGE)
    except SSDResNet34Error as error:
        complain(error.lines)
        sys.exit(FAILED)
    except OSError as error:
        # Files are told about where they are opened; what is left is stdout. A reader (head, less)
        # that went away is no error, but nothing more can be said.
        if not isinstance(error, BrokenPipeError):
            place = error.filename or "stdout"
            complain(f"{place}: cannot be written ({error.strerror or error}); free space there")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more
        sys.exit(FAILED)


def _check_streams() -> None:
    """What the caller's shell made of stdout and stderr: closed (``>&-``), or not Unicode."""
    if sys.stderr is None:
        # Also takes the free descriptor 2, which the next file that is opened would get.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # open as long as the process
    if sys.stdout is None:
        complain("stdout is closed; redirect it to a file, or to /dev/null")
        sys.exit(BAD_USAGE)
    if isinstance(sys.stdout, io.TextIOWrapper):  # else a × ends the command in an ASCII locale
        sys.stdout.reconfigure(errors="backslashreplace")
