"""Push jobs, run them in a worker, and wait for what comes of them."""

import asyncio

from flashq import Client, Job, Worker

QUEUE = "examples-mail"


async def send(job: Job) -> dict[str, str]:
    """What it returns is the job's result; an exception would be a failed attempt, tried again later."""
    return {"sent to": job.data["to"]}


async def main() -> None:
    async with Client() as client, Worker(QUEUE, send, concurrency=10):
        batch = await client.push_batch(QUEUE, [{"to": "ann"}, {"to": "bob"}], max_attempts=5, backoff_ms=200)
        for job_id in batch.ids:
            print(await client.wait_job(job_id))
        late = await client.push(QUEUE, {"to": "eve"}, delay_ms=1_000, priority=9)
        print(await client.get_state(late), "for now")
        print(await client.wait_job(late))


if __name__ == "__main__":
    asyncio.run(main())
