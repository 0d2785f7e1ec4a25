"""What a history can show to be broken, and what decides whether it is."""

from enum import StrEnum
from typing import NamedTuple

import msgspec


class Kind(StrEnum):
    """What can be wrong."""

    LOST = "lost"
    """Its push was acknowledged, and no worker ever saw it."""
    VANISHED = "vanished"
    """A worker had it and nobody completed it, but it is not there any more."""
    PHANTOM = "phantom"
    """Delivered, but nobody pushed it."""
    DAMAGED = "damaged"
    """Delivered with another payload than was pushed."""
    DOUBLED = "doubled"
    """One push, two jobs."""
    ID_TWICE = "id given twice"
    """Two pushes, one id."""
    REDELIVERED = "delivered again after its ack"
    """Its completion had been acknowledged."""
    OVERLAP = "overlapping leases"
    """Given to a worker while another's lease ran."""
    STALE_ACK = "superseded lease accepted"
    """An ack counted although its lease was not the latest."""
    LEASE_TWICE = "lease given twice"
    """Two pulls brought one job under one token."""
    LEASE_ORDER = "lease token went back"
    """A later lease has the smaller token."""
    ATTEMPTS = "attempts"
    """They went back, a failure was not counted, or there were more than allowed."""
    HALF = "refused, but happened"
    """The client was told no, and the job came; or a part of a batch came, and the rest did not."""
    COUNTS = "counts"
    """The server's counters differ from what there was."""
    EARLY = "ran before what it waits for"
    """A dependency, or a child of its flow, was not completed yet."""
    STUCK = "held for ever"
    """All that it waits for was completed, and it never came."""
    KEY_SHARED = "two live jobs of one key"
    """A unique key or a custom id stands for one live job at most."""
    KEY_STUCK = "key of a job that is gone"
    """A push was refused as a duplicate, or answered with a job, though no job of that key can have lived."""
    NAME_MIXED = "job of another name"
    """A push with a custom id was answered with a job that has another."""
    LIMIT = "more active than allowed"
    """Of a queue, a group or a limit key."""
    TICKS = "runs of a cron"
    """A run without a job, with two, or before its time."""
    SUMS = "sums"
    """An increase counted twice, or not at all."""
    RESULT = "another's result"
    """A wait for a job ended with a result that nobody gave it, or before anybody did."""


class Violation(NamedTuple):
    """One promise broken."""

    kind: Kind
    text: str


class Rules(msgspec.Struct, frozen=True):
    """What the server was told, so far as it decides what is right."""

    reconnect_grace_ms: int = 5_000
    """How long a lease tied to a connection outlives the death of a server process."""
    doomed_attempts: int = 2
    """`max_attempts` of the jobs that can only die."""
    tolerance_ms: int = 2
    """`started_at` is whole milliseconds of wall time, leases run on the monotonic clock."""
