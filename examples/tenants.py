"""Limits for each tenant: one that pushes a thousand jobs takes no worker from the others."""

import asyncio

from flashq import Client

QUEUE = "examples-exports"


async def main() -> None:
    async with Client() as client:
        await client.set_concurrency(QUEUE, 2, per_key=True)  # two jobs of a tenant at once
        await client.set_rate_limit(QUEUE, 100)  # and a hundred a second of all together
        for n in range(5):
            await client.push(QUEUE, f"big {n}", limit_key="big")
        await client.push(QUEUE, "small 0", limit_key="small")

        jobs = await client.pull_batch(QUEUE, 10)
        print(sorted(job.data for job in jobs))
        await client.ack(jobs[0])  # makes room for one more
        print([job.data for job in await client.pull_batch(QUEUE, 10)])

        await client.obliterate(QUEUE)  # the queue, its jobs and its limits


if __name__ == "__main__":
    asyncio.run(main())
