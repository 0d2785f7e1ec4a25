"""Every route of the OpenAPI document, asked with what its schema allows and what it does not.

No answer may be a fault of the server, and every answer has to be one that the document tells of. What is asked is
drawn for each route, always the same from run to run.
"""

from collections.abc import Iterator
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from flashq.api.http.openapi import STREAMS, document
from flashq.api.http.pages.all import PAGES
from flashq.api.http.table import ROUTES
from flashq.testing.cluster import Cluster

EXAMPLES: Final = 2
"""Drawn for each route, of either kind."""
CHECKS: Final = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]  # fmt: skip
LEFT_OUT: Final = [
    *(("GET", path) for path in STREAMS),  # they do not end
    ("PUT", "/crons/{name}"),  # the same row as POST, and the schema that takes the longest to draw from
    *(("POST", f"/server/{what}") for what in ("shutdown", "restart", "reset")),  # they do what they say
]
WAITS: Final = "timeout"
"""What would make an answer come late is 0 in all that is asked."""
schema = schemathesis.openapi.from_dict(document(ROUTES, PAGES))
for method, path in LEFT_OUT:
    schema = schema.exclude(method=method, path=path)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="memory", http=True) as one:
        yield one


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_route_answers_as_the_document_says(case: Any, cluster: Cluster) -> None:
    if WAITS in (case.query or {}):
        case.query[WAITS] = 0
    elif case.path.endswith(("/wait", "/{queue}/jobs")) and case.method == "GET":
        case.query = {**(case.query or {}), WAITS: 0}
    if case.path == "/command" and isinstance(case.body, dict):
        case.body = {**case.body, WAITS: 0}  # another one: it may be an example of the document itself
    response = case.call(base_url=f"http://127.0.0.1:{cluster.http_port}/api/v1", timeout=20)
    case.validate_response(response, checks=CHECKS)
