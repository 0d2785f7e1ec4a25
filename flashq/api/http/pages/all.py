"""All pages: one list."""

from typing import Final

from flashq.api.http.pages import (
    cluster,
    figures,
    health,
    incoming,
    prometheus,
    server,
    settings,
    storage,
    system,
    tokens,
    workers,
)
from flashq.api.http.pages.page import Page

PAGES: Final[tuple[Page, ...]] = (
    *health.PAGES, *figures.PAGES, *prometheus.PAGES, *workers.PAGES, *settings.PAGES, *server.PAGES, *system.PAGES,
    *storage.PAGES, *cluster.PAGES, *incoming.PAGES, *tokens.PAGES,
)  # fmt: skip
