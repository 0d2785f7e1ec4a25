"""What stands behind the door: FastAPI, with all routes that are about the server itself."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from flashq import __version__
from flashq.api.http.failures import HttpFailure
from flashq.api.http.marks import REAL
from flashq.api.http.openapi import document
from flashq.api.http.pages.all import PAGES
from flashq.api.http.pages.docs import add_docs
from flashq.api.http.pages.page import Host, Page, answered
from flashq.api.http.table import ROUTES


def make_app(host: Host) -> FastAPI:
    """The application of one process."""
    handlers: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
        HTTPException: _on_status,
        HttpFailure: _on_failure,
    }
    app = FastAPI(
        title="flashq", version=__version__, docs_url=None, redoc_url=None, openapi_url=None,
        exception_handlers=handlers,
    )  # fmt: skip
    for page in PAGES:
        _add(app, page, host)
    add_docs(app, lambda: document(ROUTES, PAGES))
    return app


def _add(app: FastAPI, page: Page, host: Host) -> None:
    async def serve(request: Request) -> Response:
        return await answered(page, host, request)

    methods = ["GET", "HEAD"] if page.method == "GET" else [page.method]
    app.add_route(page.path, serve, methods=methods, include_in_schema=False)


async def _on_failure(request: Request, failure: HttpFailure) -> Response:
    status, headers, body = failure.answer(real=request.scope.get(REAL, False))
    answer = Response(body, status)
    answer.raw_headers[:0] = headers
    return answer


async def _on_status(request: Request, error: HTTPException) -> Response:
    headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    return await _on_failure(request, HttpFailure(error.status_code, str(error.detail), *headers))
