"""The OpenAPI description says what the server does; requests made from it break nothing."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from running_server import Server, running
from ssd_resnet34.serving.limits import ServerLimits
from ssd_resnet34.serving.openapi import document

# A description cannot say that a shape must fit its data: such requests may be refused.
CHECKS = ("--exclude-checks", "positive_data_acceptance")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server")) as started:
        yield started


def schemathesis(server: Server, *arguments: str) -> None:
    """Requests made from the description: no 5xx, and every answer as described."""
    command = [str(Path(sys.executable).parent / "schemathesis"), "run"]
    command += [f"{server.url}/openapi.json", *CHECKS, "--seed", "1", "--no-color", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with server.client() as client:
        text = client.get("/metrics").text
    assert 'status="5' not in text
    assert 'route="detect",status="200"' in text


def test_requests_made_from_the_description_are_answered_as_it_says(server: Server) -> None:
    schemathesis(server, "--phases", "examples,coverage")


@pytest.mark.proof
def test_thousands_of_requests_made_from_the_description_break_nothing(server: Server) -> None:
    schemathesis(server, "--max-examples", "200")


def test_with_a_token_the_description_says_where_it_is_needed() -> None:
    described = document(ServerLimits(), secured=True)
    assert described["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) is not path.startswith("/v2/health/")
    assert "security" not in str(document(ServerLimits(), secured=False)["paths"])
