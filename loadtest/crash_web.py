"""A client of the crash campaign that pushes and acks over HTTP."""

import http.client
import json
from collections.abc import Sequence
from typing import Any, Final

from flashq.testing.facts import UNCERTAIN
from flashq.testing.history import Ack, Done, Given, Push, Refused, Unknown, now_us
from loadtest.clients import QUEUES, Worker, payload
from loadtest.wire import REPLY_S, Wire

JSON: Final = {"content-type": "application/json"}
REST_S: Final = 0.01


class WebClient(Worker):
    """Pulls over TCP, where a lost job comes back with its connection; the rest is asked of the HTTP door."""

    def __init__(self, *args: Any, http_port: int) -> None:
        super().__init__(*args)
        self._http_port = http_port
        self._web: http.client.HTTPConnection | None = None

    def operate(self, wire: Wire) -> None:
        if self.random.random() < 0.5:
            self._push()
        else:
            self.ack(wire, self.pull(wire, self.random.choice(QUEUES), 1))
        self.pause(REST_S)

    def _push(self) -> None:
        op = self.recorder.next_op()
        key = f"{self.name}-{op}-0"
        queue = self.random.choice(QUEUES)
        self.recorder.write(Push(now_us(), self.name, op, queue, [key]))
        answer = self._post(op, f"/api/v1/queues/{queue}/jobs", {"data": payload(key)})
        if answer is not None:
            self.recorder.write(Done(now_us(), self.name, op, ids=[answer["data"]["id"]]))

    def ack(self, wire: Wire, given: Sequence[Given], *, results: bool = False) -> bool:
        """Each by a request of its own."""
        counted = [self._ack_one(job) for job in given]
        return all(counted)

    def _ack_one(self, job: Given) -> bool:
        op = self.recorder.next_op()
        self.recorder.write(Ack(now_us(), self.name, op, [(job.id, job.lease)]))
        answer = self._post(op, f"/api/v1/jobs/{job.id}/ack", {"lease": job.lease})
        if answer is not None:
            self.recorder.write(Done(now_us(), self.name, op))
        return answer is not None

    def _post(self, op: int, path: str, body: Any) -> Any:
        """The answer if it is a success; what else there is to say of it is written down here."""
        try:
            if self._web is None:
                self._web = http.client.HTTPConnection("127.0.0.1", self._http_port, timeout=REPLY_S)
            self._web.request("POST", path, json.dumps(body).encode(), JSON)
            reply = self._web.getresponse()
            answer = json.loads(reply.read())
        except (OSError, http.client.HTTPException) as error:
            self.recorder.write(Unknown(now_us(), self.name, op, repr(error)))
            self._close_web()
            return None
        if reply.status == http.client.OK:
            return answer
        open_ = reply.status >= http.client.INTERNAL_SERVER_ERROR or answer.get("code") in UNCERTAIN
        said = str(answer)
        event = Unknown(now_us(), self.name, op, said) if open_ else Refused(now_us(), self.name, op, "refused", said)
        self.recorder.write(event)
        return None

    def _close_web(self) -> None:
        if self._web is not None:
            self._web.close()
            self._web = None

    def run(self) -> None:
        """What the thread does."""
        try:
            super().run()
        finally:
            self._close_web()
