"""What a door cannot say of the protocol, and which tests therefore are not run over it: the one place for both."""

from typing import Final

BYTES: Final = "bytes"
TURNS: Final = "turns"
EVENTS: Final = "events"
WHOLE: Final = "whole"
LINES: Final = "lines"
COUNTS: Final = "counts"

WHY: Final = {
    BYTES: "it is about the bytes of a connection over TCP: framing, first bytes, frames in pieces, half-close",
    TURNS: "several requests of one connection are under way at once; HTTP/1.1 answers in turn, and a wait ends then",
    EVENTS: "events come by streams of their own (/events, /ws), not between the replies of a connection",
    WHOLE: "it compares whole replies; an answer of a route shows a part of them",
    LINES: "it is about how words for what cannot be parsed begin; a route has a body of its own, own words",
    COUNTS: "the route says otherwise than its command: it refuses a count of none",
}
"""What a test may need -> why there is no such thing."""

LACKS: Final = {
    "http": frozenset({BYTES, TURNS, EVENTS}),
    "routes": frozenset({BYTES, TURNS, EVENTS, WHOLE, LINES, COUNTS}),
    "grpc": frozenset({BYTES, EVENTS}),
    "unix": frozenset[str](),
}
"""Door -> what it has not."""

NEEDS: Final[dict[str, tuple[str, ...]]] = {
    BYTES: (
        "test_first_byte_makes_it_text",
        "test_blank_line_is_answered_with_a_parse_error",
        "test_any_run_of_cr_before_the_lf_is_stripped",
        "test_last_line_without_lf_is_executed_at_half_close_and_answered",
        "test_reply_is_one_compact_line",
        "test_line_of_16_mib_is_taken_and_a_longer_one_is_refused_and_closes",
        "test_queue_may_stand_behind_10_mib_of_data",
        "test_what_a_payload_says_is_not_taken_for_the_request",
        "test_line_split_at_any_byte_is_read_alike",
        "test_pipelined_lines_in_pieces_of_any_size_are_read_alike",
        "test_frame_over_16_mib_is_refused_and_closes",
        "test_half_a_frame_holds_nobody_else_up",
        "test_frame_of_nearly_16_mib_is_taken",
        "test_frame_split_at_any_byte_is_read_alike",
        "test_pipelined_frames_in_pieces_of_any_size_are_read_alike",
        "test_hundreds_of_requests_in_one_write_are_answered_in_order",
        "test_half_close_answers_what_was_sent_and_ends_waits_at_once",
        "test_cmd_itself",
        "test_f40_no_nesting_ends_the_process",
        "test_f41_text_lines_are_bounded",
        "test_vanished_client_takes_no_job",
        "test_waiting_pulls_are_served_in_their_order",
        "test_many_wait_for_one",
        "test_ten_thousand_requests_in_flight_are_all_answered",
    ),
    TURNS: (
        "test_req_id_of_a_line_that_does_not_parse_is_echoed_where_it_can_be_found",
        "test_without_req_id_a_reply_behind_a_waiting_pull_waits_but_its_effect_does_not",
        "test_with_req_id_requests_overtake_a_waiting_pull",
        "test_effects_keep_arrival_order_on_one_queue",
        "test_hundred_pullers_get_hundred_jobs_once",
        "test_f44_vanished_client_takes_no_job",
        "test_cancelled_meanwhile",
        "test_death_meanwhile",
        "test_removed_meanwhile",
        "test_retry_does_not_end_the_wait",
        "test_result_key_is_absent_if_there_is_none",
        "test_result_of_a_job_that_completes_meanwhile",
        "test_job_that_is_forgotten_on_completion_still_answers_who_waited",
    ),
    EVENTS: (
        "test_s4_events.py",
        "SUBSCRIBE",
        "test_f06_every_transition_is_told",
        "test_f12_subscribe_delivers_and_unsubscribe_is_ones_own",
    ),
    WHOLE: (
        "counts_of_getjobcounts",
        "errors_of_pushb",
        "jobs_of_cronlist",
        "message_of_getprogress",
        "queues_of_stats",
        "test_replies_of_mixed_shards_and_errors_keep_arrival_order",
        "test_result_null_is_none",
        "test_entry_refused_for_its_key_leaves_the_rest",
        "test_logs_are_kept_with_level_and_time",
        "test_logs_of_an_unknown_job_are_none",
        "test_progress_is_stored_capped_and_its_message_replaced",
        "test_counts",
        "test_getjob_and_getstate_in_every_state",
        "test_getresult",
        "test_unknown_ids_are_no_errors",
        "test_stats_are_of_the_whole_server",
    ),
    COUNTS: ("test_pullb_of_zero_waits_out_its_timeout_and_is_empty",),
    LINES: ("test_parse_errors_begin_and_read_as_clients_know_them",),
}
"""Need -> files, tests, or what only some examples of a test have in their ids."""


def lacks(door: str, test_id: str) -> str:
    """What a door has not that this test needs; empty: it can be run."""
    for need in LACKS[door]:
        if any(name in test_id for name in NEEDS[need]):
            return need
    return ""
