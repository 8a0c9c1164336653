"""``ssd-resnet34 weights``, without a network."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from command import Run
from ssd_resnet34.weights.records import RECORDS

DATA = bytes(range(256)) * 40
SHA256 = hashlib.sha256(DATA).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of one's own, no network, a terminal of 80 columns, two small records."""
    monkeypatch.setenv("SSD_RESNET34_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SSD_RESNET34_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "80")
    known = replace(RECORDS["mlcommons"], size=len(DATA), sha256=SHA256, sha384=None)
    monkeypatch.setitem(RECORDS, "mlcommons", known)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "got-elsewhere.bin"
    path.write_bytes(DATA)
    return path


def test_the_list_shows_every_name_whole_at_80_columns(run: Run) -> None:
    result = run("weights", "list")
    assert result.code == 0
    lines = result.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    first = {line.split()[0] for line in lines if line.strip()}
    assert set(RECORDS) <= first


def test_the_list_for_machines_has_what_the_table_leaves_out(run: Run) -> None:
    rows = json.loads(run("weights", "list", "--json").out)
    assert [row["name"] for row in rows] == list(RECORDS)
    by_name = {row["name"]: row for row in rows}
    assert by_name["mlcommons"]["sha256"] == SHA256
    assert by_name["mlcommons-tf"]["lineage"] == "tensorflow"
    assert by_name["mlcommons-tf"]["sha256"] is None
    assert [score["value"] for score in by_name["mlcommons"]["mAP"]] == [20.0, 19.97, 20.73]
    assert not by_name["mlcommons"]["present"]


def test_nothing_is_here_where_the_cache_cannot_be_looked_into(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSD_RESNET34_CACHE", f"/{'n' * 300}")
    result = run("weights", "list", "--json")
    assert (result.code, result.err) == (0, "")
    assert [row["name"] for row in json.loads(result.out) if row["present"]] == ["embedded"]


def test_path_says_where_a_record_will_lie(run: Run, tmp_path: Path) -> None:
    result = run("weights", "path", "mlcommons")
    assert result.code == 0
    path = Path(result.out.rstrip("\n"))
    assert path.is_relative_to(tmp_path / "cache")
    assert path.name == "resnet34-ssd1200.onnx"
    assert not path.exists()


def test_an_imported_file_is_found_by_all_other_commands(run: Run, file: Path) -> None:
    imported = run("weights", "import", "mlcommons", file)
    assert imported.code == 0
    path = Path(imported.out.rstrip("\n"))
    assert path.read_bytes() == DATA
    assert file.exists()
    assert run("weights", "path", "mlcommons").out == imported.out
    assert run("weights", "fetch", "mlcommons").out == imported.out
    assert run("weights", "verify", "mlcommons").out == f"{SHA256}\n"
    rows = json.loads(run("weights", "list", "--json").out)
    assert {row["name"]: row["present"] for row in rows}["mlcommons"]


def test_another_file_is_not_imported(run: Run, file: Path, tmp_path: Path) -> None:
    file.write_bytes(DATA[::-1])
    result = run("weights", "import", "mlcommons", file)
    assert result.code == 1
    assert len(result.err.splitlines()) == 1
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_record_without_a_hash_needs_the_users_and_keeps_it(run: Run, file: Path) -> None:
    name = "mlcommons-tf"
    refused = run("weights", "import", name, file)
    assert refused.code == 1
    assert f"--sha256 {SHA256}" in refused.err
    assert run("weights", "import", name, file, "--sha256", OTHER).code == 1
    imported = run("weights", "import", name, file, "--sha256", SHA256)
    assert imported.code == 0
    assert run("weights", "verify", name).out == f"{SHA256}\n"
    Path(imported.out.rstrip("\n")).write_bytes(b"damaged")
    damaged = run("weights", "verify", name)
    assert damaged.code == 1
    assert "damaged" in damaged.err


def test_verify_checks_a_file_that_is_named(run: Run, file: Path) -> None:
    assert run("weights", "verify", "mlcommons", file).out == f"{SHA256}\n"
    file.write_bytes(DATA + b".")
    result = run("weights", "verify", "mlcommons", file)
    assert result.code == 1
    assert result.out == ""


def test_verify_of_what_is_not_here_says_how_to_get_it(run: Run) -> None:
    result = run("weights", "verify", "mlcommons")
    assert result.code == 1
    assert "weights fetch mlcommons" in result.err


def test_verify_of_a_named_file_that_is_not_there_is_bad_usage(run: Run, tmp_path: Path) -> None:
    result = run("weights", "verify", "mlcommons", tmp_path / "gone.onnx")
    assert result.code == 2
    assert "gone.onnx: no such file; give the path of" in result.err


@pytest.mark.parametrize("option", [(), ("--offline",)])
def test_fetching_offline_names_the_other_way(
    run: Run, monkeypatch: pytest.MonkeyPatch, option: tuple[str, ...]
) -> None:
    if option:
        monkeypatch.delenv("SSD_RESNET34_OFFLINE")
    result = run("weights", "fetch", "mlcommons", *option)
    assert result.code == 1
    assert "`ssd-resnet34 weights import mlcommons resnet34-ssd1200.onnx`" in result.err


@pytest.mark.parametrize("command", ["fetch", "verify", "path"])
def test_an_unknown_record_names_the_nearest(run: Run, command: str) -> None:
    result = run("weights", command, "mlcomons")
    assert result.code == 2
    assert "mlcommons" in result.err
    assert len(result.err.splitlines()) == 1


def test_a_hash_of_the_wrong_form_is_bad_usage(run: Run, file: Path) -> None:
    result = run("weights", "import", "mlcommons-tf", file, "--sha256", "abc")
    assert result.code == 2
    assert "64 hexadecimal" in result.err


def test_the_embedded_weights_cannot_be_replaced(run: Run, file: Path) -> None:
    assert run("weights", "import", "embedded", file).code == 2
