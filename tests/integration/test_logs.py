"""What operators find in logs: changes of tokens, slow ticks, and as much as they ask for while the cluster runs."""

import json
import subprocess
from typing import Any

from flashq.testing.cluster import Cluster, flashq_command
from tests.integration.web import Web

TOKEN = "correct-horse-battery-staple-0123456789"


def flashq(*words: str, code: int = 0) -> Any:
    done = subprocess.run(
        [*flashq_command(), *words, "--json"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done
    return json.loads(done.stdout) if done.stdout else done.stderr


def test_changes_of_tokens_are_logged_with_who_made_them_and_a_touched_log_is_told() -> None:
    with Cluster(shards=1, durability="memory", http=True, settings={"AUTH_TOKENS": TOKEN}) as cluster:
        data = ("--data", str(cluster.data))
        with Web(cluster, TOKEN) as web:
            boss = web.ok("POST", "/tokens", {"name": "boss", "role": "admin"})["secret"]
        with Web(cluster, boss) as web:
            web.ok("POST", "/tokens", {"name": "ci", "scopes": ["push:mail"]})
            web.ok("DELETE", "/tokens/ci")
        flashq("auth", "create", "ops", "--role", "operator", *data)
        found = flashq("auth", "log", *data)
        assert found["fault"] is None
        assert [(e["act"], e["token"]) for e in found["entries"]] == [
            ("created", "boss"), ("created", "ci"), ("revoked", "ci"), ("created", "ops"),
        ]  # fmt: skip
        by = [e["by"] for e in found["entries"]]
        assert by[1] == by[2] == "boss@1 from 127.0.0.1"
        assert by[0].endswith(" from 127.0.0.1")
        assert by[3].startswith("system user ")
        assert TOKEN not in json.dumps(found)
        path = cluster.data / "tokens" / "audit.log"
        path.write_text(path.read_text().replace('"revoked"', '"rotated"'))
        assert "line 4 does not follow" in flashq("auth", "log", *data, code=1)["fault"]


def test_least_level_is_changed_while_the_cluster_runs_until_it_is_started_again() -> None:
    settings = {"AUTH_TOKENS": TOKEN, "FLASHQ_LOG_LEVEL": "error"}
    refused = "a token was refused"
    with Cluster(shards=1, durability="memory", http=True, settings=settings) as cluster:
        asked = 0

        def is_logged() -> bool:
            nonlocal asked
            with Web(cluster, "wrong") as web:
                assert web.ask("GET", "/stats").status == 401
            asked += 1
            return refused in cluster.output()

        for _ in range(3):
            is_logged()
        assert flashq("cluster", "log-level", "warning", "--run", str(cluster.run)) == {"ok": True, "level": "warning"}
        cluster.wait_until(is_logged, "refused tokens to be logged")
        assert cluster.output().count(refused) <= asked - 3
        assert "allowed is one of debug" in flashq("cluster", "log-level", "loud", "--run", str(cluster.run), code=2)
        (cluster.run / "log-level").write_text("error")
        cluster.stop()
        cluster.start()
        assert not (cluster.run / "log-level").exists()


def test_slow_tick_gets_a_line_and_only_one_a_second() -> None:
    settings = {"FLASHQ_SLOW_TICK_MS": "1", "FLASHQ_LOG_FORMAT": "json"}
    with Cluster(shards=1, durability="commit", http=True, settings=settings) as cluster, Web(cluster) as web:
        jobs = {"jobs": [{"data": n, "priority": n % 7} for n in range(1_000)]}

        def lines() -> list[dict[str, Any]]:
            web.ok("POST", "/queues/q/jobs/batch", jobs)
            return [json.loads(line) for line in cluster.output().splitlines() if '"slow tick"' in line]

        cluster.wait_until(lambda: len(lines()) >= 2, "two lines about slow ticks")
        first, second = lines()[:2]
        assert (first["shard"], first["level"], first["slow_ticks"]) == (0, "warning", 1)
        assert first["took_ms"] >= 1
        assert first["took_ms"] >= first["commit_ms"]
        assert first["events"] >= 1
        assert second["slow_ticks"] >= 1
        assert second["timestamp"] > first["timestamp"]
