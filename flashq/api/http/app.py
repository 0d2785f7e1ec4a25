"""What stands behind the door: FastAPI, with all routes that are about the server itself."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from flashq import __version__
from flashq.api.http.failures import HttpFailure
from flashq.api.http.marks import REAL
from flashq.api.http.ways import Ways
from flashq.transport.child import ChildContext
from flashq.transport.shared_memory import SharedState


def make_app(ctx: ChildContext, state: SharedState, ways: Ways) -> FastAPI:
    """The application of one process."""
    handlers: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
        HTTPException: _on_status,
        RequestValidationError: _on_wrong_shape,
        HttpFailure: _on_failure,
    }
    return FastAPI(
        title="flashq", version=__version__, docs_url=None, redoc_url=None, openapi_url=None,
        exception_handlers=handlers,
    )  # fmt: skip


async def _on_failure(request: Request, failure: HttpFailure) -> Response:
    status, headers, body = failure.answer(real=request.scope.get(REAL, False))
    answer = Response(body, status)
    answer.raw_headers[:0] = headers
    return answer


async def _on_status(request: Request, error: HTTPException) -> Response:
    headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    return await _on_failure(request, HttpFailure(error.status_code, str(error.detail), *headers))


async def _on_wrong_shape(request: Request, error: RequestValidationError) -> Response:
    """A body or query that is not as the route has it; 400 where it is no JSON at all, or stands in path or query."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    in_body = first["loc"][0] == "body" and first["type"] != "json_invalid"
    return await _on_failure(request, HttpFailure(422 if in_body else 400, f"Invalid: `{where}`: {first['msg']}"))
