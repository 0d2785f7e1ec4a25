"""All rows of all families of commands."""

from typing import Any, Final

from flashq.shard import (
    control_verbs,
    cron_verbs,
    event_verbs,
    flow_verbs,
    incoming_verbs,
    kv_verbs,
    limit_verbs,
    listing_verbs,
    names_verbs,
    queue_verbs,
    webhook_verbs,
)
from flashq.shard import settings_words as settings_words  # answers what doors ask about settings
from flashq.shard.verbs import Verb

VERBS: Final[dict[type[Any], Verb]] = {
    **control_verbs.VERBS,
    **event_verbs.VERBS,
    **flow_verbs.VERBS,
    **limit_verbs.VERBS,
    **names_verbs.VERBS,
    **queue_verbs.VERBS,
    **kv_verbs.VERBS,
    **cron_verbs.VERBS,
    **listing_verbs.VERBS,
    **webhook_verbs.VERBS,
    **incoming_verbs.VERBS,
}
