"""The service as an ASGI application: its routes, and what it answers on each."""

import asyncio
import json
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from gpucnn.errors import ArgumentError, LibraryError
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.serve.batcher import Batcher, Seen
from gpucnn.serve.body import Body, ClientGone, Held
from gpucnn.serve.decoding import check_kind
from gpucnn.serve.metrics import CONTENT_TYPE
from gpucnn.serve.multipart import File, files_of
from gpucnn.serve.options import ServeOptions
from gpucnn.serve.page import Page
from gpucnn.serve.refusal import Refusal, own_fault, stopping
from gpucnn.serve.served_model import ServedModel, served_model
from gpucnn.text import value_text

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOP = 5
"""Classes in an answer, unless the request asks for another number."""
GONE = 499
"""How a client that went away without an answer is counted, as nginx does."""
WATCH_SECONDS = 0.1
"""After which it is looked whether a client that waits is still there."""


class Service:
    """One trained model behind its routes. `stopping` is set once it was asked to end."""

    def __init__(self, trained: TrainedRun, model: ServedModel, options: ServeOptions) -> None:
        self.trained, self.model, self.options = trained, model, options
        self.batcher = Batcher(trained, model, options)
        self.stopping = False
        self._held = Held()

    async def predict(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """POST /predict, as ASGI has it."""
        body = Body(scope, receive, self._held, self.options)
        try:
            if scope["method"] != "POST":
                raise Refusal(
                    HTTPStatus.METHOD_NOT_ALLOWED,
                    f"/predict takes POST, got {scope['method'][:20]}",
                    "POST an image to it",
                    {"allow": "POST"},
                )
            content = await self._predictions(scope, body)
            await send(_start(HTTPStatus.OK, content))
            await send({"type": "http.response.body", "body": content})
        except ClientGone:
            return
        except asyncio.CancelledError:
            if not self.stopping:
                raise
            content = stopping().body()  # the time for what was under way is over
            await send(_start(HTTPStatus.SERVICE_UNAVAILABLE, content, {"retry-after": "1"}))
            await send({"type": "http.response.body", "body": content})
        except Refusal as refusal:
            await self._refuse(refusal, body, send)
        except Exception as error:
            traceback.print_exception(error)
            await self._refuse(own_fault(), body, send)
        finally:
            body.forget()

    async def _predictions(self, scope: "Scope", body: Body) -> bytes:
        """The answer to a request, as JSON."""
        top = _top(scope["query_string"])
        self.batcher.arriving += 1
        try:
            content = await body.read()
        finally:
            self.batcher.arriving -= 1
        if not body.kind.startswith("multipart/"):
            (seen,) = await self._seen([File("", content)], top, body)
            return json.dumps(_as_json(seen)).encode()
        files = files_of(content, body.kind, self.options.queue)
        several = await self._seen(files, top, body)
        images = [{"file": file.name, **_as_json(seen)} for file, seen in zip(files, several, strict=True)]
        return json.dumps({"images": images}).encode()

    async def _seen(self, files: list[File], top: int, body: Body) -> list[Seen]:
        for file in files:
            check_kind(file)
        future = self.batcher.accept(files, top)
        watch = asyncio.get_running_loop().call_later(WATCH_SECONDS, self._watch, body, future)
        try:
            return await future
        finally:
            watch.cancel()

    def _watch(self, body: Body, future: "asyncio.Future[list[Seen]]") -> None:
        """Have the future end when the client goes away."""

        async def wait() -> None:
            message = await body.receive()
            if message["type"] == "http.disconnect" and not future.done():
                future.set_exception(ClientGone())

        watching = asyncio.get_running_loop().create_task(wait())
        future.add_done_callback(lambda _: watching.cancel())

    async def _refuse(self, refusal: Refusal, body: Body, send: "Send") -> None:
        """Send a refusal, and then, if the request is still coming, close the connection."""
        content = refusal.body()
        if body.is_read:
            await send(_start(refusal.status, content, refusal.headers))
            await send({"type": "http.response.body", "body": content})
            return
        await send(_start(refusal.status, content, {**refusal.headers, "connection": "close"}))
        await send({"type": "http.response.body", "body": content, "more_body": True})
        try:
            await body.drop()
        except asyncio.CancelledError:
            if not self.stopping:
                raise
        await send({"type": "http.response.body", "body": b""})


def check_libraries(*names: str) -> None:
    """LibraryError, with what to install, without one of the libraries that a service needs."""
    for name in names:
        try:
            __import__(name)
        except ImportError as error:
            raise LibraryError(f'a service needs {name} ({error}); pip install "gpucnn[serve]"') from None


def create_app(trained: TrainedRun, options: ServeOptions | None = None) -> "Starlette":
    """The service of a trained model, to be run by `gpucnn serve`, or mounted in an application of one's own.

    Raises ArgumentError for what is no trained run of `gpucnn.load`, or no `ServeOptions`; LibraryError without Starlette.
    """
    if not isinstance(trained, TrainedRun):
        raise ArgumentError(f"create_app: trained must be what gpucnn.load gives, got {value_text(trained)}")
    if not isinstance(options, ServeOptions | None):
        raise ArgumentError(f"create_app: options must be serve.ServeOptions(...), got {value_text(options)}")
    check_libraries("starlette")
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.responses import RedirectResponse, Response
    from starlette.routing import Route

    options = options or ServeOptions()
    service = Service(trained, served_model(trained, options.max_batch), options)
    page = Page(trained, service.model.name, options, TOP)

    async def health(request: "Request") -> Response:
        return _json({"alive": True})

    async def ready(request: "Request") -> Response:
        if service.stopping:
            return _refused(stopping())
        return _json({"ready": True})

    async def metrics(request: "Request") -> Response:
        return Response(service.batcher.metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def root(request: "Request") -> Response:
        return RedirectResponse(request.url_for("docs"))

    async def docs(request: "Request") -> Response:
        return Response(page.at(str(request.url_for("docs")).removesuffix("/docs")), headers=page.headers)

    async def refused(request: "Request", error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _refused(_of_routing(request, error.status_code, dict(error.headers or {})))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        service.stopping = True
        await asyncio.to_thread(service.batcher.stop)

    def _json(values: object) -> Response:
        return Response(json.dumps(values), media_type="application/json")

    def _refused(refusal: Refusal) -> Response:
        return Response(refusal.body(), refusal.status, headers=refusal.headers, media_type="application/json")

    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/ready", ready),
            Route("/metrics", metrics),
            Route("/docs", docs),
            Route("/", root),
        ],
        middleware=[Middleware(_Door, service=service)],
        exception_handlers={HTTPException: refused},
        lifespan=lifespan,
    )
    app.state.service = service
    return app


class _Door:
    """What every request comes through: it is counted, and once the service stops, its answer ends its connection.

    /predict it takes itself: the way through Starlette's routes costs more than a small model.
    """

    def __init__(self, app: "ASGIApp", service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        app = self.service.predict if path == "/predict" else self.app

        async def counting(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self.service.stopping:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await app(scope, receive, counting)
        except Exception:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            raise
        finally:
            route = path if path in ROUTES else "other"
            self.service.batcher.metrics.request(route, int(status) or GONE, time.perf_counter() - began)


ROUTES = ("/predict", "/health", "/ready", "/metrics", "/docs", "/")


def _start(status: HTTPStatus, content: bytes, headers: dict[str, str] | None = None) -> "Message":
    sent = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    sent += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return {"type": "http.response.start", "status": int(status), "headers": sent}


def _as_json(seen: Seen) -> dict[str, object]:
    predictions = [{"class": name, "probability": probability} for name, probability in seen.answers]
    return {"predictions": predictions, "warning": seen.warning} if seen.warning else {"predictions": predictions}


def _top(query: bytes) -> int:
    """K of ?top=K. Refusal for anything else."""
    if not query:
        return TOP
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    top = given[0][1] if [name for name, _ in given] == ["top"] else ""
    if not (top.isascii() and top.isdigit() and int(top[:6]) > 0 and len(top) < 6):
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            f"the query {query.decode('latin-1')[:80]!r} is not understood",
            "give ?top=K, K a whole number >= 1",
        )
    return int(top)


def _of_routing(request: "Request", status: int, headers: dict[str, str]) -> Refusal:
    """Why no route takes a request."""
    path, root = request.url.path[:200], request.scope.get("root_path", "")
    if status == HTTPStatus.NOT_FOUND:
        return Refusal(
            HTTPStatus.NOT_FOUND, f"there is no {path}", f"ask for one of {', '.join(root + route for route in ROUTES)}"
        )
    allowed = ", ".join(sorted(headers.get("Allow", "GET").split(", ")))
    return Refusal(HTTPStatus(status), f"{path} takes {allowed}, got {request.method[:20]}", "ask it with GET", headers)
