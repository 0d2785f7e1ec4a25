"""All rows of all families of commands."""

from typing import Any, Final

from flashq.shard.verbs import Verb

VERBS: Final[dict[type[Any], Verb]] = {}
