"""`/docs`: the routes, to read and to try, without internet. Swagger UI stands in assets/, its licence beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html

_ASSETS: Final = Path(__file__).parent.parent / "assets"
_TYPES: Final = {"swagger-ui-bundle.js": "text/javascript; charset=utf-8", "swagger-ui.css": "text/css; charset=utf-8"}
_CACHED: Final = {"cache-control": "public, max-age=86400"}


def add_docs(app: FastAPI, document: Callable[[], dict[str, Any]]) -> None:
    """Add the page, what it needs and the document it shows."""
    app.openapi = document  # type: ignore[method-assign]
    page = get_swagger_ui_html(
        openapi_url="/docs/openapi.json", title="flashq", swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css", swagger_favicon_url="data:,",
    )  # fmt: skip

    async def docs(request: Request) -> Response:
        return page

    async def openapi(request: Request) -> Response:
        return Response(msgspec.json.encode(app.openapi()), media_type="application/json")

    app.add_route("/docs", docs, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_route("/docs/openapi.json", openapi, methods=["GET", "HEAD"], include_in_schema=False)
    for name, kind in _TYPES.items():
        app.add_route(f"/docs/{name}", _asset(name, kind), methods=["GET", "HEAD"], include_in_schema=False)


def _asset(name: str, kind: str) -> Callable[[Request], Any]:
    async def serve(request: Request) -> Response:
        # Read when it is asked for: nobody wants 2 MB in memory for a page that is seldom opened.
        return Response((_ASSETS / name).read_bytes(), headers={"content-type": kind, **_CACHED})

    return serve
