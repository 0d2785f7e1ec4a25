"""Executors that leave nothing to chance: what a service has done in the background happens when a test says so."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class InlineExecutor(Executor):
    """Does at once what it is given."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        _run(future, lambda: fn(*args, **kwargs))
        return future


class SteppedExecutor(Executor):
    """Does one thing, the oldest, with each `step`; and all up to it when somebody waits for a result."""

    def __init__(self) -> None:
        self._todo: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = _Awaited(self)
        self._todo.append((future, lambda: fn(*args, **kwargs)))
        return future

    def step(self) -> bool:
        """Do the oldest thing; False if there was none."""
        if not self._todo:
            return False
        _run(*self._todo.popleft())
        return True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        while wait and self.step():
            continue


class _Awaited(Future[T]):
    """A future whose waiter does the work."""

    def __init__(self, executor: SteppedExecutor) -> None:
        super().__init__()
        self._executor = executor

    def result(self, timeout: float | None = None) -> T:
        self._work()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._work()
        return super().exception(timeout)

    def _work(self) -> None:
        while not self.done() and self._executor.step():
            continue


def _run(future: Future[Any], work: Callable[[], Any]) -> None:
    """Like a thread of a pool, but what is no Exception (a simulated power cut) ends the caller too."""
    try:
        result = work()
    except BaseException as fault:
        future.set_exception(fault)
        if not isinstance(fault, Exception):
            raise
    else:
        future.set_result(result)
