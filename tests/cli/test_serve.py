"""``serve``: what is refused before anything is started. What it serves: tests/serving."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from command import Run
from ssd_resnet34.cli.serve import TOKEN, _token
from ssd_resnet34.errors import UsageError
from ssd_resnet34.runtime import cpu
from ssd_resnet34.serving import cluster
from ssd_resnet34.serving.cluster import Scale
from ssd_resnet34.serving.server import Settings
from ssd_resnet34.serving.tasks import WorkerConfig
from ssd_resnet34.vision.images import Limits


def started(monkeypatch: pytest.MonkeyPatch, trained_size: int | None) -> None:
    """A server that is ready at once, and ends."""
    facts = SimpleNamespace(
        model="embedded", engine="fake", precision="fp32", seconds=0.1, trained_size=trained_size
    )
    announcing = "ssd_resnet34.serving.server.run"
    monkeypatch.setattr(announcing, lambda _, announce: announce("http://here", facts))


@pytest.mark.parametrize(("words", "told"), [([], 1), (["-w", "embedded"], 0), (["-q"], 0)])
def test_the_log_says_that_the_embedded_weights_are_not_for_photographs(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    words: list[str], told: int,
) -> None:  # fmt: skip
    for logger in ("ssd_resnet34", "uvicorn"):
        caplog.set_level(logging.INFO, logger)  # the command changes it: set back at the end
    started(monkeypatch, trained_size=1200)
    assert run("serve", *words).code == 0
    assert caplog.text.count("for photographs: -w mlcommons") == told


@pytest.mark.parametrize(
    ("size", "words", "told"), [(600, [], 1), (600, ["-q"], 0), (1200, [], 0), (None, [], 0)]
)
def test_the_log_says_that_a_model_was_trained_at_another_size(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    size: int | None, words: list[str], told: int,
) -> None:  # fmt: skip
    for logger in ("ssd_resnet34", "uvicorn"):
        caplog.set_level(logging.INFO, logger)
    started(monkeypatch, trained_size=size)
    assert run("serve", *words).code == 0
    assert caplog.text.count("note: embedded was trained at 600×600 and runs at 1200") == told


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_other_machines_are_served_with_a_token_or_on_purpose(run: Run, host: str) -> None:
    result = run("serve", "--host", host)
    assert result.code == 2
    assert "--token-file" in result.err
    assert "--open" in result.err


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1"])
def test_this_machine_needs_no_token(host: str) -> None:
    Settings(WorkerConfig("embedded", "auto", "cpu", "auto", None, Limits()), host)


@pytest.mark.parametrize("token", ["short", "", "sixteen letters ü!"])
def test_a_token_that_could_be_guessed_or_not_be_sent_is_refused(
    run: Run, token: str, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text(token)
    result = run("serve", "--token-file", path)
    assert result.code == 2
    assert f"--token-file {path}: give at least 16 ASCII characters" in result.err


def test_a_weak_token_of_the_environment_names_the_variable(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, "short")
    result = run("serve")
    assert result.code == 2
    assert f"{TOKEN}: give at least 16 ASCII characters" in result.err


@pytest.mark.parametrize("way", ["file", "environment"])
def test_a_token_is_what_is_between_blanks(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that is mounted or handed over by a cluster often ends with a line feed."""
    path = tmp_path / "token"
    path.write_text("0123456789abcdef\n")
    monkeypatch.setenv(TOKEN, "0123456789abcdef\n")
    assert _token(path if way == "file" else None) == "0123456789abcdef"


@pytest.mark.parametrize("host", ["a..b", "ü" * 70])
def test_a_host_that_is_no_name_is_refused(run: Run, host: str) -> None:
    result = run("serve", "--open", "--host", host, "--port", "0")
    assert result.code == 1
    assert f"{host}:0: cannot listen there" in result.err


def test_a_token_file_that_cannot_be_read_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"\xff\xd8\xff")
    for name, reason in (("nothing", "No such file or directory"), ("image", "not UTF-8 text")):
        result = run("serve", "--token-file", tmp_path / name)
        assert result.code == 2
        assert f"{name}: cannot be read ({reason}); give a file" in result.err.replace("\n", " ")


@pytest.mark.parametrize(
    "words", [["--port", "70000"], ["--workers", "0"], ["--deadline", "0"], ["--max-pixels", "0"]]
)
def test_what_is_out_of_range_is_bad_usage(run: Run, words: list[str]) -> None:
    assert run("serve", *words).code == 2


@pytest.mark.parametrize(
    "words",
    [
        ["--replicas", "2"],
        ["--ray-address", "auto"],
        ["--ray", "--replicas", "many"],
        ["--ray", "--replicas", "3:2"],
        ["--ray", "--replicas", "0"],
        ["--ray", "--port", "0"],
        ["--ray", "--grpc-port", "8001"],
    ],
)
def test_options_that_do_not_go_together_are_bad_usage(run: Run, words: list[str]) -> None:
    assert run("serve", *words).code == 2


def test_over_ray_a_replica_has_the_cpus_of_its_workers(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    monkeypatch.setattr(cluster, "run", lambda settings, scale, _: given.append((settings, scale)))
    words = ["--ray", "--ray-address", "10.0.0.5:6379", "--replicas", "2:8"]
    words += ["--workers", "2", "--threads", "3", "--device", "cuda", "--deadline", "5"]
    assert run("serve", *words).code == 0
    ((settings, scale),) = given
    assert scale == Scale(2, 8, cpus=6, gpus=1.0, address="10.0.0.5:6379")
    assert (settings.worker.threads, settings.workers, settings.limits.deadline) == (3, 2, 5.0)


@pytest.mark.parametrize(("device", "gpus"), [("cpu", 0.0), ("cuda:1", 1.0), ("tensorrt", 1.0)])
def test_over_ray_a_replica_has_a_gpu_for_any_device_but_the_cpu(
    run: Run, monkeypatch: pytest.MonkeyPatch, device: str, gpus: float
) -> None:
    given: list[Scale] = []
    monkeypatch.setattr(cluster, "run", lambda _, scale, __: given.append(scale))
    assert run("serve", "--ray", "--device", device).code == 0
    assert given[0].gpus == gpus


def test_over_ray_a_file_of_weights_is_named_by_its_whole_path(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A replica has another working folder."""
    given: list[Settings] = []
    monkeypatch.setattr(cluster, "run", lambda settings, *_: given.append(settings))
    monkeypatch.chdir(tmp_path)
    for name in ("mine.onnx", "embedded"):
        (tmp_path / name).touch()
        assert run("serve", "--ray", "--weights", name).code == 0
    assert [one.worker.weights for one in given] == [str(tmp_path / "mine.onnx"), "embedded"]


def test_over_ray_one_replica_on_this_machine_is_the_default(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    monkeypatch.setattr(cluster, "run", lambda settings, scale, _: given.append((settings, scale)))
    assert run("serve", "--ray", "--workers", "2", "--replicas", "3").code == 0
    ((settings, scale),) = given
    threads = max(1, cpu.available_threads() // 2)
    assert scale == Scale(3, 3, cpus=2 * threads)
    assert settings.worker.threads == threads


def test_without_the_extra_it_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch, forget: Callable[[str], None]
) -> None:
    forget("ssd_resnet34.serving")
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    result = run("serve")
    assert result.code == 1
    assert "pip install 'ssd-resnet34[serve]'" in result.err


def test_settings_out_of_range_are_named() -> None:
    worker = WorkerConfig("embedded", "auto", "cpu", "auto", None, Limits())
    with pytest.raises(UsageError, match="port"):
        Settings(worker, port=-1)
    with pytest.raises(UsageError, match="port"):
        Settings(worker, grpc_port=70_000)
    with pytest.raises(UsageError, match="workers"):
        Settings(worker, workers=65)
