"""The key-value store: small things that workers share, kept over restarts."""

import asyncio

from flashq import Client


async def main() -> None:
    async with Client() as client:
        await client.kv_delete("examples:visits")
        await asyncio.gather(*(client.kv_increase("examples:visits") for _ in range(10)))
        print("visits:", await client.kv_get("examples:visits"))

        await client.kv_set("examples:session", {"user": "ann"}, ttl_ms=60_000)
        left_ms = await client.kv_ttl("examples:session")
        print("kept for a minute:", 0 < left_ms <= 60_000)

        await client.kv_set_many({"examples:a": 1, "examples:b": [2]})
        print(await client.kv_get_many(["examples:b", "examples:none", "examples:a"]))
        print(sorted(await client.kv_keys("examples:?")))


if __name__ == "__main__":
    asyncio.run(main())
