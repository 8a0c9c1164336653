"""S3 on the loopback (moto), with an application before it that fails when it is told to."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

SLOW_DOWN = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
INTERNAL = b"<Error><Code>InternalError</Code><Message>We encountered an error.</Message></Error>"

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass
class Faults:
    """``decide(method, path)`` says what becomes of a request: None, ``throttled``, ``broken``,
    ``slow`` (the answer takes ``seconds``) or ``cut`` (half of the body comes)."""

    decide: Callable[[str, str], str | None] = lambda method, path: None
    seconds: float = 60.0
    met: list[tuple[str, str, str]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)


class Faulty:
    """A WSGI application before another."""

    def __init__(self, inner: Application, faults: Faults) -> None:
        self.inner, self.faults = inner, faults

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.faults.requests.append((method, path))
        fault = self.faults.decide(method, path)
        if fault is not None:
            self.faults.met.append((fault, method, path))
        if fault in ("throttled", "broken"):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            status = "503 Slow Down" if fault == "throttled" else "500 Internal Server Error"
            body = SLOW_DOWN if fault == "throttled" else INTERNAL
            start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [] if method == "HEAD" else [body]
        if fault == "slow":
            time.sleep(self.faults.seconds)
        answer = self.inner(environ, start)
        if fault == "cut":
            whole = b"".join(answer)
            return [whole[: len(whole) // 2]]
        return answer


@contextmanager
def serving(faults: Faults) -> Iterator[str]:
    """The address of the store while it runs."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    application = Faulty(DomainDispatcherApplication(create_backend_app), faults)
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
