"""What ``benchmarks.serving`` prints says in words what was measured."""

import pytest
from benchmarks import serving


def test_every_number_is_printed_once_and_none_by_its_name_in_the_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    burst = [f"{kind}{name}" for kind in ("cold_", "") for name in serving._BURST]
    names = [*serving._ALONE, *burst, "refusal_1600x1200_ms"]
    serving.show({name: n + 0.5 for n, name in enumerate(names)})
    shown = capsys.readouterr().out
    assert [float(line.split()[-1]) for line in shown.splitlines() if not line.endswith(":")] == [
        n + 0.5 for n in range(len(names))
    ]
    assert "cold_" not in shown
    assert "_ms" not in shown
    assert "not answered within the deadline (504)" in shown
