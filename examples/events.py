"""Listen to what happens in a queue while another task works on it."""

import asyncio

from flashq import Client, Job, Worker

QUEUE = "examples-videos"


async def encode(job: Job) -> str:
    return f"{job.data} done"


async def main() -> None:
    # `client.events(QUEUE, ["completed", "failed"])` would tell of these only.
    async with Client() as client, client.events(QUEUE) as events:
        job_id = await client.push(QUEUE, "cats")
        async with Worker(QUEUE, encode):
            async for event in events:
                if event.job_id == job_id:
                    print(event.kind, event.data if event.data is not None else "")
                if event.kind == "completed":
                    break


if __name__ == "__main__":
    asyncio.run(main())
