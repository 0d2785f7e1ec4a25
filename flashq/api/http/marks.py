"""What the door notes in a request's scope, for those behind it."""

from typing import Final

CLIENT: Final = "flashq.client"
"""Its `Client`."""
REAL: Final = "flashq.real"
"""Whether failures have their real status: the path began with /api/v1."""
PRINCIPAL: Final = "flashq.principal"
"""Who asks."""
