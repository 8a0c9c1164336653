"""The report of ``make proof``: renewed part by part, so that a killed proof loses one."""

import sys
from pathlib import Path

import pytest
from benchmarks import proof

TWO = (
    proof.Part("one", "says a number", ("one",)),
    proof.Part("two", "fails", ("two",)),
)


@pytest.fixture(autouse=True)
def two_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "one.py").write_text("print('## 1.5 \\n\\n')")
    (tmp_path / "two.py").write_text("raise SystemExit('no number')")
    monkeypatch.setattr(proof, "PARTS", TWO)
    monkeypatch.setattr(proof, "REPOSITORY", tmp_path)
    monkeypatch.setattr(proof, "REPORT", tmp_path / "proof.md")
    return tmp_path


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["proof", *arguments])
    try:
        proof.main()
    except SystemExit as error:
        return error.code
    return 0


def test_a_failed_part_is_in_the_report_and_in_the_exit_code(
    two_parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert called(monkeypatch) == "failed: two"
    report = (two_parts / "proof.md").read_text()
    assert "`python -m one`: passed" in report
    assert "`python -m two`: FAILED, exit code 1" in report
    assert "no number" in report


def test_the_first_line_of_a_part_keeps_its_spaces_like_the_rows_of_its_table(
    two_parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (two_parts / "one.py").write_text("print('\\n head\\n row\\n')")
    called(monkeypatch)
    assert "```text\n head\n row\n```" in (two_parts / "proof.md").read_text()


def test_only_one_part_is_renewed_and_the_others_stay(
    two_parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called(monkeypatch)
    before = proof.sections((two_parts / "proof.md").read_text())
    (two_parts / "two.py").write_text("print('2.5')")
    assert called(monkeypatch, "--only", "two") == 0
    after = proof.sections((two_parts / "proof.md").read_text())
    assert list(after) == ["one", "two"]
    assert after["one"] == before["one"]
    assert "## 1.5" in after["one"], "what a part prints may look like a heading"
    assert "2.5" in after["two"]


def test_a_section_of_a_part_that_is_no_more_leaves_the_report() -> None:
    kept = {"two": "## two: fails\n", "gone": "## gone: of old\n"}
    assert "gone" not in proof.joined(kept)
    assert proof.sections(proof.joined(kept)) == {"two": "## two: fails\n"}


def test_what_ray_says_of_itself_is_no_part_of_the_report(
    two_parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (two_parts / "one.py").write_text(
        "print('(raylet) node 7 has died\\n\\t(2) raylet has lagging heartbeats\\n1.5')\n"
        "print('[2026] logging.cc:303: Set ray log level from RAY_BACKEND_LOG_LEVEL to 3')\n"
    )
    called(monkeypatch)
    report = proof.sections((two_parts / "proof.md").read_text())["one"]
    assert report.endswith("```text\n1.5\n```\n")
