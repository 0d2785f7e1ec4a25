"""Who may let jobs wait for whose: depends_on, by tokens that are bound to queues, wherever the jobs lie."""

from collections.abc import Iterator
from typing import Any

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.access_kit import ROOT, made, shown
from tests.integration.wire import CODECS, Wire


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit", http=True, settings={"AUTH_TOKENS": ROOT}) as one:
        yield one


class Tenants:
    """Queues of two tenants on each shard, and a token of the first."""

    def __init__(self, cluster: Cluster, codec: str, scopes: list[str], name: str) -> None:
        self.mine = [next(cluster.queues_of(shard, f"mine-{name}-")) for shard in (0, 1)]
        self.other = [next(cluster.queues_of(shard, f"other-{name}-")) for shard in (0, 1)]
        self.root = shown(cluster, ROOT, codec)
        self.tenant = shown(cluster, made(cluster, name, scopes=scopes), codec)

    def job(self, queue: str) -> int:
        return int(self.root.ok("PUSH", queue=queue, data=1)["id"])


def refused(wire: Wire, cmd: str, dependency: int, **fields: Any) -> None:
    reply = wire.refused(cmd, **fields)
    assert reply["code"] == "forbidden", reply
    assert reply["error"].endswith(f"lacks the scope read or push on the queue of dependency {dependency}"), reply


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shard", [0, 1], ids=["same shard", "other shard"])
def test_dependency_of_another_tenant_is_refused_and_nothing_stored(cluster: Cluster, codec: str, shard: int) -> None:
    """Its fate would tell what only its owner may know: that it is there, and when it ends."""
    one = Tenants(cluster, codec, ["push:mine-*", "read:mine-*"], f"a{shard}{codec}")
    queue, foreign, own = one.mine[0], one.job(one.other[shard]), one.job(one.mine[shard])
    with one.root, one.tenant as wire:
        refused(wire, "PUSH", foreign, queue=queue, data=1, depends_on=[own, foreign])
        refused(wire, "PUSH", foreign, queue=queue, data=1, depends_on=[foreign], job_id=f"name-{codec}{shard}")
        refused(wire, "PUSHB", foreign, queue=queue, jobs=[{"data": 1}, {"data": 2, "depends_on": [foreign]}])
        nested = {"queue": queue, "children": [{"queue": queue, "depends_on": [foreign]}]}
        refused(wire, "FLOW", foreign, queue=queue, data=1, children=[nested])
        assert wire.ok("COUNT", queue=queue)["count"] == (0 if shard else 1)
        assert wire.ok("GETJOBS", queue=queue, state="waiting-children")["total"] == 0
        job_id = wire.ok("PUSH", queue=queue, data=1, depends_on=[own])["id"]
        assert wire.ok("GETSTATE", id=job_id)["state"] == "waiting-children"


@pytest.mark.parametrize("scope", ["read", "push"])
@pytest.mark.parametrize("shard", [0, 1], ids=["same shard", "other shard"])
def test_either_scope_on_the_dependencys_queue_is_enough(cluster: Cluster, shard: int, scope: str) -> None:
    """A producer that pushes one job after another has no need to read them."""
    one = Tenants(cluster, CODECS[0], ["push:mine-*", "read:mine-*", f"{scope}:other-*"], f"b{shard}{scope}")
    with one.root, one.tenant as wire:
        foreign = one.job(one.other[shard])
        job_id = wire.ok("PUSH", queue=one.mine[0], data=1, depends_on=[foreign])["id"]
        assert wire.ok("GETSTATE", id=job_id)["state"] == "waiting-children"


def test_what_comes_behind_a_push_that_is_asked_about_takes_effect_after_it(cluster: Cluster) -> None:
    one = Tenants(cluster, CODECS[0], ["push:mine-*", "read:mine-*", "work:mine-*"], "c")
    queue, foreign, own = one.mine[0], one.job(one.other[1]), one.job(one.mine[1])
    with one.root, one.tenant as wire:
        wire.send("PUSH", queue=queue, data="a", depends_on=[own])
        wire.send("PUSH", queue=queue, data="b", depends_on=[foreign])
        wire.send("PUSH", queue=queue, data="c")
        first, second, third = wire.read(), wire.read(), wire.read()
        assert (first["ok"], second["ok"], third["ok"]) == (True, False, True)
        assert first["id"] < third["id"]
