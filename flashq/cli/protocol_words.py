"""What the page about the protocol says of each command, field, key, state and event: words that no type can say.

Whoever adds one of these to the code is told by the page's test that its words are missing.
"""

from typing import Final

FAMILIES: Final = (
    ("Jobs", ("PUSH", "PUSHB", "PULL", "PULLB", "ACK", "ACKB", "FAIL")),
    ("While a job runs", ("HEARTBEAT", "PROGRESS", "GETPROGRESS", "PARTIAL", "LOG", "GETLOGS", "MOVETODELAYED")),
    ("Control of single jobs", ("CANCEL", "DISCARD", "PROMOTE", "CHANGEPRIORITY", "UPDATEJOB", "UPDATE")),
    ("Questions about jobs", ("GETJOB", "GETSTATE", "GETRESULT", "WAITJOB", "GETJOBBYCUSTOMID", "GETJOBSBATCH",
                              "GETJOBS", "GETCHILDREN", "HISTORY")),
    ("Queues", ("PAUSE", "RESUME", "ISPAUSED", "COUNT", "GETJOBCOUNTS", "LISTQUEUES", "RATELIMIT", "RATELIMITCLEAR",
                "SETCONCURRENCY", "CLEARCONCURRENCY", "SUBSCRIBE", "UNSUBSCRIBE")),
    ("Dead letters and removal", ("DLQ", "RETRYDLQ", "PURGEDLQ", "DRAIN", "CLEAN", "OBLITERATE")),
    ("Flows and crons", ("FLOW", "CRON", "CRONDELETE", "CRONLIST")),
    ("Key-value store", ("KVSET", "KVGET", "KVDEL", "KVEXISTS", "KVEXPIRE", "KVTTL", "KVINCR", "KVMGET", "KVMSET",
                         "KVKEYS")),
    ("The server", ("PING", "AUTH", "STATS", "METRICS")),
)  # fmt: skip

COMMANDS: Final = {
    "PUSH": ("Add a job. A `job_id` that a job has already: that job's id, and nothing is added.", "id"),
    "PUSHB": (("Add jobs to one queue, in one commit. A malformed entry refuses the request; one that is refused for a "
              "unique key, debouncing or its dependencies is named in `errors` (and, the same, `failed`), and the "
              "others are stored: `ids` has those in order."), "ids, errors?, failed?"),
    "PULL": ("Take the next ready job, waiting for one. See [Leases](#leases).", "job"),
    "PULLB": ("Take up to `count` ready jobs as soon as there is one.", "jobs"),
    "ACK": ("The job is done.", ""),
    "ACKB": ("Many jobs are done: as so many ACKs. `ids` has one element, their number, as `count`.",
             "ids, count, not_found?, errors?"),
    "FAIL": ("The attempt failed: the job is retried, or becomes a dead letter.", ""),
    "HEARTBEAT": ("The job is still worked on: its lease starts anew.", ""),
    "PROGRESS": ("How far the job is, in percent; renews its lease. Without `message` the one before is cleared.", ""),
    "GETPROGRESS": ("How far an active job is: `progress` has `id`, `progress` and `message`.", "progress, message"),
    "PARTIAL": ("A piece of an active job's result for those who listen; not kept.", ""),
    "LOG": ("Write a line about a job, whatever its state; the last 100 are kept.", ""),
    "GETLOGS": ("What was written: `timestamp`, `message`, `level` each. Nothing for an unknown job.", "id, logs"),
    "MOVETODELAYED": ("An active job waits for later; no attempt is counted.", ""),
    "CANCEL": ("The job ceases to exist, unless it has completed or is a dead letter.", ""),
    "DISCARD": ("A waiting, delayed or active job becomes a dead letter.", ""),
    "PROMOTE": ("A delayed job is ready now.", ""),
    "CHANGEPRIORITY": ("In any state but completed.", ""),
    "UPDATEJOB": ("Other data; a worker that has the job keeps what it was given.", ""),
    "UPDATE": ("The same as UPDATEJOB.", ""),
    "GETJOB": ("The job as it is or was kept; `job` is null and `state` `unknown` if nothing is known of it.",
               "job, state"),
    "GETSTATE": ("Where the job is in its life; see [States](#states).", "id, state"),
    "GETRESULT": ("What it was acked with; null if nothing, or not yet.", "id, result"),
    "WAITJOB": (("Wait for the job's end. Refused with code `failed` and a `reason` if it becomes a dead letter, "
                "`not_found` if it is gone, `timeout` after `timeout` ms."), "result?"),
    "GETJOBBYCUSTOMID": ("As GETJOB, by the name its client gave it.", "job, state"),
    "GETJOBSBATCH": ("Jobs in the order of `ids`, without those that nothing is kept of.", "jobs, partial?"),
    "GETJOBS": ("A listing, newest first. `total` is before paging.", "jobs, total, partial?"),
    "GETCHILDREN": ("The children of a flow's parent, in order, as far as they are kept.",
                    "parent_id, children, completed, total, children_ids, partial?"),
    "HISTORY": ("What happened to a job: steps with `event`, `at` (ms), `attempt`, `lease`, `text`.",
                "id, queue, state, history"),
    "PAUSE": ("Deliver nothing until RESUME. Pushes and active jobs go on.", ""),
    "RESUME": ("Deliver again.", ""),
    "ISPAUSED": ("Whether it is paused.", "paused"),
    "COUNT": ("Waiting and delayed jobs.", "count"),
    "GETJOBCOUNTS": ("Jobs by state; `counts` has the same once more.",
                     "waiting, active, delayed, completed, failed, counts"),
    "LISTQUEUES": (("Every queue with any job or setting: `name`, `pending`, `processing`, `completed`, `delayed`, "
                   "`dlq`, `paused`, `rate_limit`, `concurrency_limit`."), "queues"),
    "RATELIMIT": ("Deliver at most so many jobs a second; 0 none.", ""),
    "RATELIMITCLEAR": ("No such limit.", ""),
    "SETCONCURRENCY": ("At most so many active jobs, over all workers; 0 none.", ""),
    "CLEARCONCURRENCY": ("No such limit.", ""),
    "SUBSCRIBE": ("Send what happens in the queue on this connection; see [Events](#events). TCP and Unix sockets.",
                  ""),
    "UNSUBSCRIBE": ("No more events of the queue on this connection.", ""),
    "DLQ": ("Dead letters, oldest first, as many as the reply holds.", "jobs"),
    "RETRYDLQ": ("Dead letters wait again, with all attempts before them. `ids` has one element, as `count`.",
                 "ids, count"),
    "PURGEDLQ": ("Forget all dead letters.", "count"),
    "DRAIN": ("Remove waiting and delayed jobs; active and held ones, and dead letters, stay.", "count"),
    "CLEAN": ("Remove jobs in a state that were pushed at least `grace` ms ago.", "count"),
    "OBLITERATE": ("Remove the queue: its jobs (but completed ones), limits, pause and crons.", "count"),
    "FLOW": (("A parent that waits for its children, all accepted or none; it has the options of jobs itself. A child "
             "has `queue`, `data`, the options of jobs, `ignore_failure` and `children` of its own."),
             "parent_id, children_ids"),
    "CRON": (("Push a job by a schedule; a cron of that name is replaced. All options of jobs but `job_id` and "
             "`depends_on`, beside its own fields or in `options`."), ""),
    "CRONDELETE": ("No more of its jobs.", ""),
    "CRONLIST": ("All crons; `jobs` has the same once more.", "crons, jobs, partial?"),
    "KVSET": ("Store a value; without `ttl` an older expiry is dropped.", ""),
    "KVGET": ("The value, or null.", "value"),
    "KVDEL": ("Forget it.", "exists"),
    "KVEXISTS": ("Whether it is there.", "exists"),
    "KVEXPIRE": ("Keep it for `ttl` ms from now.", "exists"),
    "KVTTL": ("Milliseconds left; -1 without expiry, -2 without such a key.", "ttl"),
    "KVINCR": ("Add to an integer; null and no value count as 0, an expiry stays. Past 64 bits it is refused.",
               "value"),
    "KVMGET": (("Values in the order of `keys`, null for those that are not there. `truncated`: ask for the rest; "
               "`partial`: a shard did not answer, its values are null."), "values, truncated?, partial?"),
    "KVMSET": ("Store `entries` (`key`, `value`, `ttl`), all of them or, if one is refused, none.", "count, errors?"),
    "KVKEYS": ("The keys that fit: `*` any run, `?` one character.", "keys, partial?"),
    "PING": ("Allowed before AUTH.", "pong"),
    "AUTH": ("Show a token. Five wrong ones close the connection.", ""),
    "STATS": ("Jobs of the whole server by state, and by queue.",
              "queued, processing, delayed, dlq, completed, queues"),
    "METRICS": ("Totals since the first start, the rate and the mean time from push to ack.", "metrics"),
}  # fmt: skip
"""Command -> (what it does, the keys of its reply beside `ok` and `success`; `?` where not always there)."""

FIELDS: Final = {
    "queue": "", "id": "the job", "data": "", "count": "at most so many", "name": "", "key": "", "token": "",
    "limit": "", "ids": "", "keys": "", "entries": "", "value": "", "message": "", "parent_id": "",
    "lease": "the token that the job was pulled with; refused if it is not the latest",
    "priority": "higher goes first",
    "jobs": "entries with `data` and the options of jobs",
    "result": "kept with the job", "results": "one for each id", "leases": "one, or null, for each id",
    "error": "kept with the job", "timeout": "ms to wait; absent 60,000, 0 not at all",
    "lease_ms": "the lease of these jobs; absent: the job's `stall_timeout`, else `default_lease_ms`",
    "release_on_disconnect": "when this connection ends its jobs return at once",
    "per_key": "for each `limit_key` of the queue's jobs, instead of the queue",
    "WAITJOB.timeout": "ms to wait; absent 30,000", "PROGRESS.progress": "0 to 255; over 100 counts as 100",
    "PARTIAL.index": "given on in the event", "LOG.level": "any word", "delay": "ms from now",
    "MOVETODELAYED.delay": "ms from now", "RETRYDLQ.id": "absent: all", "DLQ.count": "absent 100",
    "GETJOBS.queue": "absent: all queues", "GETJOBS.state": "absent: all; `waiting-children` also without its `-`",
    "GETJOBS.limit": "absent 100, at most 1000 are given", "GETJOBS.offset": "at most 10,000 without `queue`",
    "GETJOBBYCUSTOMID.job_id": "the name", "SUBSCRIBE.events": "their names, absent or empty: all",
    "CLEAN.grace": "ms", "CLEAN.state": "`waiting`, `delayed`, `completed` or `failed`",
    "CLEAN.limit": "oldest first; absent or 0: all", "RATELIMIT.limit": "jobs a second",
    "SETCONCURRENCY.limit": "active jobs", "FLOW.children": "at least one",
    "schedule": "see [Crons](#crons)", "repeat_every": "ms; wins over `schedule`", "CRON.limit": "so many runs",
    "timezone": "IANA name; absent UTC", "misfire": "`once` (if absent), `skip` or `all`",
    "options": "an object with the cron's options and its jobs'",
    "ttl": "ms; absent: for good", "KVEXPIRE.ttl": "ms", "by": "", "pattern": "absent `*`",
}  # fmt: skip
"""Field, or COMMAND.field where it means something else there."""

OPTIONS: Final = {
    "priority": "higher goes first", "delay": "not before now plus this",
    "ttl": "dropped if no worker has had it so long after the push; 0 never",
    "timeout": "may run this long, heartbeats or not; 0 without limit",
    "max_attempts": "failures until it is a dead letter; 0 tries for ever",
    "backoff": "base of the wait before a retry; 0 retries at once",
    "unique_key": "see [Unique keys and custom ids](#unique-keys-and-custom-ids)",
    "depends_on": "ids of jobs, in any queues, that must complete first", "tags": "returned, never interpreted",
    "lifo": "goes before the ready jobs of its priority", "remove_on_complete": "nothing of it is kept after its ack",
    "remove_on_fail": "forgotten instead of kept as a dead letter",
    "stall_timeout": "its lease, if its pull says nothing; 0 as absent",
    "debounce_id": "pushes with it are refused for a while after one was accepted",
    "debounce_ttl": "that while; absent 5000", "job_id": "custom id: a name for the whole server",
    "keep_completed_age": "bound of what the queue keeps, applied when it completes",
    "keep_completed_count": "bound of what the queue keeps, applied when it completes",
    "group_id": "one active job of a group and queue", "limit_key": "whose `per_key` limits it counts against",
    "on_dependency_failure": "`fail` (if absent): a dead letter; `run`: a dead dependency counts as done",
}  # fmt: skip

JOB_KEYS: Final = {
    "id": "below 2^53", "queue": "", "data": "", "created_at": "when it was pushed", "run_at": "not before",
    "started_at": "last pull; 0 again after a failure", "attempts": "failures so far",
    "progress": "percent", "progress_msg": "last message, or text of the last failure",
    "last_heartbeat": "last pull or heartbeat", "stall_count": "leases that ran out", "parent_id": "of a flow's child",
    "children_ids": "of a flow's parent", "children_completed": "", "custom_id": "the option `job_id`",
    "completed_at": "", "lease": "only in a pulled job: the token", "result": "only once completed",
    "error": "only of a dead letter: why it died", "failed_at": "only of a dead letter",
    "failures": "only of a dead letter: [time, text] of each failed attempt", "state": "not in a pulled job",
}  # fmt: skip
"""Keys of a job that are not an option given back."""

STATES: Final = {
    "WAITING": "ready for the next pull", "DELAYED": "ready later: a delay, or a retry's wait",
    "ACTIVE": "a worker has it", "COMPLETED": "acked, kept for a while", "FAILED": "a dead letter",
    "HELD": "waits for `depends_on`", "PARENT": "waits for its children",
}  # fmt: skip

EVENTS: Final = {
    "pushed": "accepted; `data` is the job's", "delayed": "waits for a later moment", "active": "pulled",
    "progress": "`progress` in percent", "partial": "`data` has `chunk`, and `index` if given",
    "completed": "`data` is the result, if any", "retrying": "back in its queue after a failure, `error` says which",
    "failed": "a dead letter, not by DISCARD", "timeout": "its `timeout` passed", "stalled": "its lease ran out",
    "cancelled": "by CANCEL", "discarded": "a dead letter by DISCARD", "promoted": "ready before its time, or released",
    "drained": "of the queue: DRAIN", "paused": "of the queue", "resumed": "of the queue",
    "removed": "expired, cleaned, purged or obliterated",
}  # fmt: skip
