"""All trials, with what each has to keep."""

from typing import Final

from loadtest import by_id, due, flowing, listening, optioned, restarting, rpc, schedules, tenants, web
from loadtest.trials import Bound, Trial

TRIALS: Final = (
    Trial(
        "options-pushb",
        "PUSHB of 1000 with priority, tags, delay 1 h and unique_key",
        optioned.options_pushb,
        (Bound(optioned.OPTIONS, 0.25, optioned.PLAIN),),
    ),
    Trial(
        "named-pushb",
        "PUSHB of 1000 with job_id, names over all shards",
        optioned.named_pushb,
        (Bound(optioned.NAMED, 0.1, optioned.PLAIN),),
    ),
    Trial(
        "options-pull",
        "PULLB of 1000 + ACKB of jobs with priority, tags, max_attempts and unique_key",
        optioned.options_pull,
        (Bound(optioned.OPTIONS, 0.4, optioned.PLAIN),),
    ),
    Trial("by-id", "CANCEL, CHANGEPRIORITY, UPDATEJOB, 64 in flight", by_id.by_id, by_id.BOUNDS),
    Trial("keys", "PULLB of 1000 from 10,000 limit_keys, rate limited", tenants.keys, (Bound(tenants.PULLED, 100),)),
    Trial(
        "due",
        "100,000 delayed jobs due in one millisecond",
        due.due,
        (Bound(due.DELIVERED, 1_000, at_most=True), Bound(due.OTHERS, 10, at_most=True)),
    ),
    Trial(
        "flow",
        "10,000 children over all shards, and the parent that waits for them",
        flowing.flow,
        (Bound(flowing.FLOW, 3, flowing.PLAIN, at_most=True),),
    ),
    Trial("crons", "1,000 crons a second for 60 s", schedules.crons, schedules.BOUNDS, once=True),
    Trial("restart", "a million jobs wait, everything is killed", restarting.restart(1_000_000), restarting.bounds(3)),
    Trial(
        "restart-10m",
        "ten million jobs wait, everything is killed",
        restarting.restart(10_000_000),
        restarting.bounds(30),
        once=True,
    ),
    Trial("events", "batches while somebody listens", listening.events),
    Trial(
        "http-push",
        "HTTP: POST of a small job",
        web.http_push,
        (Bound(web.HTTP_RATE, 0.45, web.BARE_RATE), Bound(web.HTTP_P50, 3, web.BARE_P50, at_most=True)),
    ),
    Trial(
        "http-batch",
        "HTTP: batches of 1000",
        web.http_batch,
        (Bound(web.BATCH_PUSH, 500), Bound(web.BATCH_TAKE, 300)),
    ),
    Trial("grpc-unary", "gRPC: Push of a small job", rpc.grpc_unary, (Bound(rpc.RATE, 0.6, rpc.BARE_RATE),)),
    Trial("grpc-batch", "gRPC: PushBatch of 1000", rpc.grpc_batch, (Bound(rpc.BATCH_PUSH, 350),)),
)
