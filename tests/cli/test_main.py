"""The command as a whole: help, exit codes, closed pipes."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import ssd_resnet34
from command import Run
from ssd_resnet34.cli import info, main, terminal
from ssd_resnet34.errors import (
    ArtifactError,
    EngineUnavailable,
    MissingExtra,
    UnknownEngine,
    UnknownWeights,
    UsageError,
)


def commands() -> Iterator[tuple[str, ...]]:
    """Every command, and every one of a group."""
    app = main.application()
    for command in app.registered_commands:
        yield (str(command.name),)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield (str(group.name),)
        for command in group.typer_instance.registered_commands:
            assert command.callback is not None
            yield (str(group.name), str(command.name or command.callback.__name__))


COMMANDS = list(commands())


def test_a_command_loads_no_module_of_another() -> None:
    code = """import sys
from ssd_resnet34.cli.main import application, needed
application(needed(["info", "x.onnx"]))
print([name for name in sys.modules if name.startswith("ssd_resnet34.cli.")])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ssd_resnet34.cli.info" in done.stdout
    for other in ("batch", "mlperf", "train", "serve", "eval"):
        assert f"'ssd_resnet34.cli.{other}'" not in done.stdout, other


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-V"], ["detct"]])
def test_where_no_command_is_named_all_are_there(arguments: list[str]) -> None:
    assert main.needed(arguments) == main.COMMANDS


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_fits_80_columns_and_shows_an_example(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = run(*command, "--help", fake=False)
    assert result.code == 0
    assert all(len(line) <= 80 for line in result.out.splitlines())
    assert not re.search(r"<\w[^<>]*\n", result.out)  # <auto|int8|bf16|fp16|fp32 without its end
    assert re.search(rf"\n [^\n]*ssd-resnet34 {' '.join(command)} ?[^\n]*\n", result.out)
    assert re.search(r"\n Examples?:", result.out)


def test_without_arguments_the_command_shows_its_help(run: Run) -> None:
    result = run(fake=False)
    assert "detect" in result.out + result.err
    assert result.code in (0, 2)  # the one or the other by the version of the library


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_told(run: Run, option: str) -> None:
    assert run(option).out.strip() == ssd_resnet34.__version__


@pytest.mark.parametrize(
    ("typed", "meant"), [("det", "detect"), ("detect --score", "--score-threshold")]
)
def test_a_shell_completes_commands_and_options(
    run: Run, monkeypatch: pytest.MonkeyPatch, typed: str, meant: str
) -> None:
    words = ["ssd-resnet34", *typed.split()]
    monkeypatch.setenv("_SSD_RESNET34_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    assert run("", fake=False).out.split() == [meant]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("wrong; do it right"), 2),
        (UnknownWeights("no such weights; there are others"), 2),
        (UnknownEngine("no such engine; there are others"), 2),
        (EngineUnavailable("not installed; install it"), 1),
        (ArtifactError("broken; make it again"), 1),
        (MissingExtra("pip install 'ssd-resnet34[eval]'"), 1),
        (BrokenPipeError(), 1),
        (typer.Exit(3), 3),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_ending_has_its_code_and_errors_of_ours_one_line(
    monkeypatch: pytest.MonkeyPatch,
    run: Run,
    capfd: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
) -> None:
    def machine() -> None:
        raise error

    monkeypatch.setattr(info, "machine", machine)
    saved = os.dup(1)  # a closed pipe is replaced by the null device for good
    try:
        result = run("info")
    finally:
        os.dup2(saved, 1)
        os.close(saved)
    assert result.code == code
    if isinstance(error, ssd_resnet34.SSDResNet34Error):
        assert result.err == f"error: {error}\n"
    if isinstance(error, KeyboardInterrupt):
        assert result.err == "interrupted\n"


@pytest.mark.parametrize("command", ["weights list", "weights list --json"])
def test_a_reader_that_goes_away_ends_the_command_quietly(command: str) -> None:
    code = "import sys; from ssd_resnet34.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # long before anything is written
    with process.stderr:
        complaints = process.stderr.read()
    assert process.wait() == 1
    assert complaints == b""


def test_names_in_a_table_stay_whole_and_text_folds_between_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    terminal.show_table(
        ("name", "what"), [("a-name-of-more-than-twenty-letters", "some words"), ("b", "x")]
    )
    lines = capsys.readouterr().out.splitlines()
    assert any(line.strip().startswith("a-name-of-more-than-twenty-letters") for line in lines)
    assert all(len(line) <= 50 for line in lines)


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\nb", "bell\a", "caf\udce9", "‮"])
def test_what_is_shown_cannot_control_the_terminal(text: str) -> None:
    assert terminal.printable(text).isprintable()


def test_our_line_breaks_are_line_breaks_and_those_of_others_are_escaped(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def machine() -> None:
        raise EngineUnavailable("no engine works:", "torch: not here", "a\nb.onnx: not there")

    monkeypatch.setattr(info, "machine", machine)
    assert (
        run("info").err == "error: no engine works:\n  torch: not here\n  a\\nb.onnx: not there\n"
    )


def test_why_no_engine_works_on_a_device_is_a_line_for_each(run: Run) -> None:
    first, *reasons = run("detect", "a.jpg", "--device", "npu", fake=False).err.splitlines()
    assert first == "error: no engine works on device npu:"
    assert len(reasons) == 3
    assert all(reason.startswith("  ") for reason in reasons)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["detect", "a.jpg", "-t", "1.5"],
            "'--score-threshold' / '-t': must be less than or equal to 1",
        ),
        (["detect", "a.jpg", "--threads", "x"], "'--threads': must be a valid integer"),
        (["detect", "a.jpg", "--precision", "int4"], "'--precision': 'int4' is not one of 'auto'"),
        (["mlperf", "run", "a", "b", "-o", "c", "--round", "v9"], "'--round': 'v9' is not one of"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(run: Run, words: list[str], told: str) -> None:
    result = run(*words, fake=False)
    assert result.code == 2
    assert f"Invalid value for {told}" in " ".join(result.err.replace("│", "").split())
    assert "Input should" not in result.err
    assert "Value error" not in result.err
    assert "unable to parse" not in result.err


def test_the_installed_command_is_this_one() -> None:
    script = Path(sys.executable).with_name("ssd-resnet34")
    if not script.exists():
        pytest.skip("the package is not installed in this environment, only on its path")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ssd_resnet34.__version__
