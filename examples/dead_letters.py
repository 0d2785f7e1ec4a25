"""What fails too often is kept as a dead letter: look at it, repair what was wrong, try again."""

from flashq import SyncClient

QUEUE = "examples-invoices"


def main() -> None:
    with SyncClient() as client:
        client.push(QUEUE, {"amount": "12,50"}, max_attempts=2, backoff_ms=0)
        for _ in range(2):
            job = client.pull(QUEUE)
            assert job is not None
            client.log(job, f"attempt {job.attempts + 1}")
            client.fail(job, "amount is no number")

        (dead,) = client.get_dead_letters(QUEUE)
        print(dead.state, "after", dead.attempts, "attempts:", dead.error)
        print([line.message for line in client.get_logs(dead)])

        client.update(dead, {"amount": 12.5})
        print("back in the queue:", client.retry_dead_letters(QUEUE, dead))
        job = client.pull(QUEUE)
        assert job is not None
        client.ack(job, "paid")
        print(job.data, client.get_result(job.id))


if __name__ == "__main__":
    main()
