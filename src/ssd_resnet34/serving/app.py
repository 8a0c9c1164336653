"""The HTTP application: routes, and every error as JSON."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import SSDResNet34Error
from . import page
from .answers import json_answer, refusal
from .bodies import Reader
from .detect_route import DetectRoute
from .front import CLIENT_GONE, Counted, Guarded, Lingering
from .limits import ServerLimits
from .line import Budget
from .metrics import Metrics
from .openapi import document
from .pool import Pool
from .protocol_routes import ProtocolRoutes
from .refusals import Refused, of_error


def make(
    pool: Pool, limits: ServerLimits, budget: Budget, metrics: Metrics, token: str | None
) -> ASGIApp:
    """The application in front of a pool; ``token`` None lets everybody in."""
    reader = Reader(limits, budget, pool.closing)
    protocol = ProtocolRoutes(pool, reader, limits, metrics)
    detect = DetectRoute(pool, reader, limits, metrics)
    description = document(limits, token is not None)

    async def numbers(request: Request) -> Response:
        return Response(metrics.text(), media_type=Metrics.media)

    async def openapi(request: Request) -> Response:
        return json_answer(description)

    # Both are coroutines: others are run in a thread, and a burst of refusals would wait for it.
    async def refuse(request: Request, error: Exception) -> Response:
        refused = _refused(error)
        metrics.refused(refused.code.name)
        return refusal(refused)

    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_GONE)  # nobody reads it; it is counted

    models = "/v2/models/{model}"
    routes = [
        Route("/v2", protocol.server),
        Route("/v2/", protocol.server),
        Route("/v2/health/live", protocol.live),
        Route("/v2/health/ready", protocol.ready),
        *(
            Route(f"{path}{end}", handler, methods=[method])
            for path in (models, f"{models}/versions/{{version}}")
            for end, handler, method in (
                ("", protocol.model, "GET"),
                ("/ready", protocol.model_ready, "GET"),
                ("/infer", protocol.infer, "POST"),
            )
        ),
        Route("/detect", detect.detect, methods=["POST"]),
        Route("/metrics", numbers),
        Route("/openapi.json", openapi),
        Route("/", page.index),
        Route("/static/{name}", page.static),
    ]
    inner = Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: refuse,
            SSDResNet34Error: refuse,
            ClientDisconnect: gone,
            Exception: refuse,
        },
    )
    inner.router.redirect_slashes = False
    guarded = Guarded(inner, token, metrics.refused, routes)
    outer = Counted(Lingering(guarded, pool.closing), metrics.request)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        # Ray Serve asks for a lifespan, and hands on websockets: Starlette knows what to say.
        await (outer if scope["type"] == "http" else inner)(scope, receive, send)

    return application


def _refused(error: Exception) -> Refused:
    if isinstance(error, SSDResNet34Error):
        return of_error(error)
    if isinstance(error, HTTPException) and error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "")
        return Refused("method_not_allowed", f"this path has {allow}", allow=allow)
    if isinstance(error, HTTPException):
        return Refused("not_found", "no such path; /openapi.json lists them")
    return Refused("failed", "a defect of the server; its log says more")
