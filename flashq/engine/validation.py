"""What a job may ask for: names' bytes, durations, sizes. Each error names the field, the value and the limit."""

from flashq.engine.settings import Limits
from flashq.errors import InvalidArgument, LimitExceeded
from flashq.protocol.commands import JobOptions, folded
from flashq.protocol.queue_names import check_queue_name as check_queue_name
from flashq.protocol.traces import check_trace

DURATIONS = ("delay", "ttl", "timeout", "backoff", "stall_timeout", "debounce_ttl", "keep_completed_age")


def check_data_size(limits: Limits, payload: bytes, what: str = "Job data") -> None:
    """Raise LimitExceeded for a payload over `data_bytes_max`."""
    if len(payload) > limits.data_bytes_max:
        raise LimitExceeded(f"{what} too large ({len(payload)} bytes, max {limits.data_bytes_max} bytes)")


def check_duration(limits: Limits, name: str, value: int | None) -> None:
    """Raise InvalidArgument for more than ten years."""
    if value is not None and value > limits.duration_ms_max:
        raise InvalidArgument(f"invalid value: `{name}` is {value} ms, at most {limits.duration_ms_max} ms are allowed")


def check_name(limits: Limits, name: str, value: str | None) -> None:
    """Raise InvalidArgument for an empty name, LimitExceeded for one over `name_bytes_max` bytes."""
    if value is None:
        return
    if not value:
        raise InvalidArgument(f"invalid value: `{name}` cannot be empty")
    if len(value) * UTF8_BYTES_MAX <= limits.name_bytes_max:
        return
    size = len(value.encode("utf-8", "surrogatepass"))
    if size > limits.name_bytes_max:
        raise LimitExceeded(f"`{name}` too long ({size} bytes, max {limits.name_bytes_max} bytes)")


def check_text_size(name: str, text: str, most: int) -> None:
    """Raise LimitExceeded for a text of more than `most` bytes."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > most:
        raise LimitExceeded(f"`{name}` too long ({size} bytes, max {most} bytes)")


UTF8_BYTES_MAX = 4
"""Of one character."""


def check_entry(limits: Limits, options: JobOptions, payload: bytes, index: int | None) -> None:
    """Fold aliases and nulls, then check one job. In a batch the error begins with the entry's index."""
    try:
        folded(options)
        if len(payload) > limits.data_bytes_max:
            check_data_size(limits, payload)
        check_durations(limits, options)
        check_names(limits, options)
        if options.tags or options.depends_on:
            _check_lists(limits, options)
        policy = options.on_dependency_failure
        if policy is not None and policy not in ("run", "fail"):
            raise InvalidArgument(
                f"invalid value: `on_dependency_failure` is '{policy[:64]}', allowed are 'run' and 'fail'"
            )
    except (InvalidArgument, LimitExceeded) as e:
        if index is None:
            raise
        raise type(e)(f"jobs[{index}]: {e}") from None


def check_durations(limits: Limits, options: JobOptions) -> None:
    """Raise InvalidArgument for a duration of more than ten years."""
    # Spelled out: as loops over names this and what follows took 2 us a job, so it takes 0.4.
    most = limits.duration_ms_max
    if (
        (options.delay or 0) > most
        or (options.ttl or 0) > most
        or (options.timeout or 0) > most
        or (options.backoff or 0) > most
        or (options.stall_timeout or 0) > most
        or (options.debounce_ttl or 0) > most
        or (options.keep_completed_age or 0) > most
    ):
        for name in DURATIONS:
            check_duration(limits, name, getattr(options, name))


def check_names(limits: Limits, options: JobOptions) -> None:
    """Raise InvalidArgument or LimitExceeded for a name that is empty or too long."""
    if options.unique_key is not None:
        check_name(limits, "unique_key", options.unique_key)
    if options.debounce_id is not None:
        check_name(limits, "debounce_id", options.debounce_id)
    if options.job_id is not None:
        check_name(limits, "job_id", options.job_id)
    if options.group_id is not None:
        check_name(limits, "group_id", options.group_id)
    if options.limit_key is not None:
        check_name(limits, "limit_key", options.limit_key)
    if options.trace is not None:
        check_trace(options.trace)


def _check_lists(limits: Limits, options: JobOptions) -> None:
    tags = options.tags
    if tags:
        if len(tags) > limits.tags_max:
            raise LimitExceeded(f"Too many `tags` ({len(tags)}, max {limits.tags_max})")
        for k, tag in enumerate(tags):
            if len(tag) * UTF8_BYTES_MAX <= limits.name_bytes_max:
                continue
            size = len(tag.encode("utf-8", "surrogatepass"))
            if size > limits.name_bytes_max:
                raise LimitExceeded(f"`tags[{k}]` too long ({size} bytes, max {limits.name_bytes_max} bytes)")
    if options.depends_on and len(options.depends_on) > limits.depends_on_max:
        raise LimitExceeded(f"Too many `depends_on` ({len(options.depends_on)}, max {limits.depends_on_max})")
