"""PUSHB and PULLB + ACKB while nobody listens, and while somebody hears of every transition."""

import threading
from collections.abc import Sequence
from typing import Final

from loadtest.sockets import RECEIVE_BYTES, Line
from loadtest.station import DIALECT, Station
from loadtest.trials import Figures, Side, Site, queue_on

TOLD: Final = "events told of those that happened, %"
EVENTS_A_JOB: Final = 3
"""pushed, active, completed."""


def events(site: Site) -> Sequence[Side]:
    """A report: what listening costs, and how much the listener got of it."""
    cluster, count = site.cluster(), site.size(100_000, 2_000)
    silent = Station(cluster.port, queue_on(cluster, 0, "silent"))
    heard = Station(cluster.port, queue_on(cluster, 0, "heard"))

    def in_silence() -> Figures:
        return _moved(silent, count, "nobody listening")

    def aloud() -> Figures:
        listener = Listener(heard)
        figures = _moved(heard, count, "one listener")
        told = listener.stop(count * EVENTS_A_JOB)
        return {**figures, TOLD: 100 * told / (count * EVENTS_A_JOB)}

    return in_silence, aloud


def _moved(station: Station, count: int, who: str) -> Figures:
    pushed, ids = station.push(count)
    taken = station.pull_and_ack(ids)
    return {f"PUSHB, {who}, k jobs/s": pushed, f"PULLB + ACKB, {who}, k jobs/s": taken}


class Listener:
    """Subscribes to all events of a queue and counts them on a thread."""

    def __init__(self, station: Station) -> None:
        self._line: Line = station.line()
        DIALECT.check_ok(self._line.ask(b'{"cmd":"SUBSCRIBE","queue":"%b","events":[]}\n' % station.queue.encode()))
        self._asked = b'{"cmd":"UNSUBSCRIBE","queue":"%b","reqId":"end"}\n' % station.queue.encode()
        self._counted = threading.Condition()
        self._events = 0
        self._whole = False
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        left = b""
        while data := self._line.receive(RECEIVE_BYTES):
            lines, _, rest = (left + data).rpartition(b"\n")
            left = rest
            with self._counted:
                self._events += lines.count(b'"event_type":')
                self._whole = self._whole or b'"reqId":"end"' in lines
                self._counted.notify()
            if self._whole:
                return

    def stop(self, most: int, patience_s: float = 5.0) -> int:
        """Events heard: all `most` of them, or those that came in time."""
        with self._counted:
            self._counted.wait_for(lambda: self._events >= most, patience_s)
        self._line.send(self._asked)
        self._thread.join()
        self._line.close()
        return self._events
