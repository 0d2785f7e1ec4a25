"""Three ways to add a job once only: a unique key, a name, an idempotency key."""

import asyncio
from uuid import uuid4

from flashq import Client
from flashq.errors import Duplicate

QUEUE = "examples-orders"


async def main() -> None:
    async with Client() as client:
        # A unique key: no second job while the first has not completed.
        first = await client.push(QUEUE, {"sync": "ann"}, unique_key="sync-ann")
        try:
            await client.push(QUEUE, {"sync": "ann"}, unique_key="sync-ann")
        except Duplicate as error:
            print(error)

        # A name of our own: the second push gets the job that has it, and so does who asks by it.
        order = f"order-{uuid4()}"
        second = await client.push(QUEUE, {"n": 1}, custom_id=order)
        print("same job:", await client.push(QUEUE, {"n": 2}, custom_id=order) == second)
        found = await client.find_by_custom_id(order)
        assert found is not None
        print("by its name:", found.data)

        # A request that is made again, perhaps after a crash of ours: the first answer again. (Requests that the
        # client itself repeats when a connection breaks have a key without our doing.)
        key = f"payment-{uuid4()}"
        third = await client.push(QUEUE, {"pay": 5}, idempotency_key=key)
        print("same answer:", await client.push(QUEUE, {"pay": 5}, idempotency_key=key) == third)

        for job_id in (first, second, third):
            await client.cancel(job_id)


if __name__ == "__main__":
    asyncio.run(main())
