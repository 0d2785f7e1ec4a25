"""What a cluster that keeps its data in PostgreSQL does before it starts anything: it makes the database its own."""

from flashq.cluster.slot_map import FILE, SlotMap, first_map
from flashq.config import Settings
from flashq.database_url import parse
from flashq.errors import ConfigError, StorageError
from flashq.storage.journal_epoch import next_epoch


def take_database(settings: Settings) -> tuple[SlotMap, str]:
    """The map of slots that the database has, and the name of this life of the cluster in it.

    The connection is closed again: what is forked later must not share it. Raises ConfigError, in one line.
    """
    from flashq.storage.postgres import ownership
    from flashq.storage.postgres.server import Server

    if (settings.data / FILE).exists():
        raise ConfigError(
            f"data = {settings.data}: this folder has jobs of its own, which database_url would leave behind: "
            "move them with `flashq migrate`, or name another folder"
        )
    try:
        taken = ownership.take(Server(parse(settings.database_url)), settings.shards, first_map(settings.shards).owners)
        next_epoch(settings.data, above=taken.epoch)  # the database may have been used with another folder
    except StorageError as fault:
        raise ConfigError(f"database_url: {fault}") from fault
    return SlotMap(taken.slots_version, settings.shards, taken.owners), taken.run
