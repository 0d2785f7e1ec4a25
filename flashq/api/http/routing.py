"""From a method and a path to its plan: a tree of the path's parts, walked with no pattern matching."""

from typing import Final, NamedTuple

from flashq.api.http.plans import Plan, plan_of
from flashq.api.http.table import ROUTES

_TAKES: Final = frozenset({"PULLB"})
"""Reads that take something: HEAD, which shows nothing, is not for them."""


class Node:
    """A place in the tree."""

    __slots__ = ("any", "plans", "static")

    def __init__(self) -> None:
        self.static: dict[bytes, Node] = {}
        self.any: Node | None = None
        """For a part that is a value."""
        self.plans: dict[str, Plan] = {}
        """By method."""


class Found(NamedTuple):
    """A path that the tree knows."""

    plans: dict[str, Plan]
    params: list[bytes]
    """Its values, still percent-encoded."""


class Tree:
    """All routes that stand for commands."""

    def __init__(self) -> None:
        self._root = Node()
        for route in ROUTES:
            plan = plan_of(route)
            for path in (route.path, *route.also):
                self._add(path, route.method, plan)

    def _add(self, path: str, method: str, plan: Plan) -> None:
        node = self._root
        for part in path.encode().split(b"/")[1:]:
            if part.startswith(b"{"):
                node.any = node.any or Node()
                node = node.any
            else:
                node = node.static.setdefault(part, Node())
        assert method not in node.plans, f"{method} {path} stands twice in the table"
        node.plans[method] = plan
        if method == "GET" and plan.route.command not in _TAKES:
            node.plans["HEAD"] = plan

    def find(self, raw_path: bytes) -> Found | None:
        """The plans of a path; None if it is none of ours."""
        node = self._root
        params: list[bytes] = []
        for part in raw_path.split(b"/")[1:]:
            below = node.static.get(part)
            if below is None:
                below = node.any
                if below is None or not part:
                    return None
                params.append(part)
            node = below
        return Found(node.plans, params) if node.plans else None
