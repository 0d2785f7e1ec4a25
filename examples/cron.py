"""Jobs on a schedule. A cron survives restarts, and its runs are neither doubled nor lost by a crash."""

import asyncio

from flashq import Client

QUEUE = "examples-reports"


async def main() -> None:
    async with Client() as client:
        await client.set_cron(
            "examples-nightly",
            QUEUE,
            {"report": "all"},
            schedule="30 2 * * *",
            timezone="Europe/Berlin",
            max_attempts=5,
        )
        await client.set_cron("examples-often", QUEUE, {"report": "short"}, repeat_every_ms=1_000, limit=100)
        for cron in sorted(await client.list_crons(), key=lambda cron: cron.name):
            if cron.queue == QUEUE:
                print(cron.name, cron.schedule or f"every {cron.repeat_every} ms")
        job = await client.pull(QUEUE)
        assert job is not None
        await client.ack(job)
        print("ran:", job.data)
        for name in ("examples-nightly", "examples-often"):
            await client.delete_cron(name)


if __name__ == "__main__":
    asyncio.run(main())
