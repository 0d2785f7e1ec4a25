"""What a client wrote before it was killed has to be readable afterwards."""

from pathlib import Path

from flashq.testing.history import Done, Given, Push, Recorder, read


def test_history_reads_back_as_it_was_written(tmp_path: Path) -> None:
    push = Push(1, "p", 1, "mail", ["a", "b"], doomed=True)
    done = Done(2, "p", 1, given=[Given(5, "a", 9, 3, 0)])
    with Recorder(tmp_path / "p", "p") as recorder:
        recorder.write(push)
        recorder.write(done)
    assert list(read([tmp_path / "p"])) == [push, done]


def test_unfinished_last_line_is_left_out(tmp_path: Path) -> None:
    push = Push(1, "p", 1, "mail", ["a"])
    with Recorder(tmp_path / "p", "p") as recorder:
        recorder.write(push)
    with (tmp_path / "p").open("ab") as file:
        file.write(b'{"e":"push","at')
    assert list(read([tmp_path / "p"])) == [push]


def test_operations_are_numbered_from_one(tmp_path: Path) -> None:
    with Recorder(tmp_path / "p", "p") as recorder:
        assert [recorder.next_op(), recorder.next_op()] == [1, 2]
