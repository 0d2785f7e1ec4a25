"""A flow: a job that runs when the jobs it is made of have completed, and uses their results."""

import asyncio

from flashq import Client, Job, Worker

PAGES, BOOKS = "examples-pages", "examples-books"


async def count_words(job: Job) -> int:
    """A child."""
    return len(job.data.split())


async def main() -> None:
    async with Client() as client:

        async def add_up(job: Job) -> int:
            """The parent: pulled only when all children are done."""
            found = await client.get_children(job)
            return sum(child.result for child in found.children)

        async with Worker(PAGES, count_words, concurrency=3), Worker(BOOKS, add_up):
            flow = await client.push_flow(
                BOOKS,
                {"title": "A book"},
                [
                    {"queue": PAGES, "data": "it was a dark night"},
                    {"queue": PAGES, "data": "and it rained", "priority": 5},
                    {"queue": PAGES, "data": "", "ignore_failure": True},
                ],
            )
            print(len(flow.children_ids), "pages have", await client.wait_job(flow.parent_id), "words")


if __name__ == "__main__":
    asyncio.run(main())
