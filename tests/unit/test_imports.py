"""The rooms: who may stand on whom, and what `import flashq` costs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import flashq

ROOT: Final = Path(flashq.__file__).parent
GROUND: Final = frozenset({"errors", "clock", "config", "database_url", "lifecycle", "machine", "units"})
_PROTOCOL: Final = GROUND | {"protocol"}
_ENGINE: Final = _PROTOCOL | {"engine"}
_STORAGE: Final = _ENGINE | {"storage"}
_ACCESS: Final = _PROTOCOL | {"access"}
_TRANSPORT: Final = _ACCESS | {"transport"}
_CLIENT: Final = _PROTOCOL | {"client"}
_ROOMS_OF_A_PROCESS: Final = {
    "router": _TRANSPORT,
    "api": _TRANSPORT,
    "shard": _TRANSPORT | _STORAGE,
}
_CLUSTER: Final = _TRANSPORT | _STORAGE | {"router", "api", "shard"}
ALLOWED: Final[dict[str, frozenset[str]]] = {
    **dict.fromkeys(GROUND, GROUND),
    "protocol": _PROTOCOL,
    "access": _ACCESS,
    "engine": _ENGINE,
    "storage": _STORAGE,
    "transport": _TRANSPORT,
    "client": _CLIENT,
    **_ROOMS_OF_A_PROCESS,
    "cluster": _CLUSTER,
    "cli": _CLUSTER | _CLIENT | {"cluster"},
    "testing": _CLUSTER | _CLIENT | {"cluster"},
    "__main__": frozenset({"cli"}),
}
"""Room -> the rooms it may import, besides itself."""


def _modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and room of every import of ours in a file, those inside functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports name the whole path"
            names = [f"flashq.{alias.name}" for alias in node.names] if node.module == "flashq" else [node.module or ""]
        else:
            continue
        for name in names:
            if name.startswith("flashq."):
                yield node.lineno, name.split(".")[1]


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_between_rooms_point_one_way(path: Path) -> None:
    relative = path.relative_to(ROOT)
    room = relative.parts[0].removesuffix(".py")
    assert room in ALLOWED, f"{room} is a new room: say in this test what it may import"
    allowed = ALLOWED[room] | {room, "__version__"}
    wrong = [f"{relative}:{line} imports {other}" for line, other in _imports(path) if other not in allowed]
    assert wrong == []


@pytest.mark.parametrize("room", ["router", "shard", "api"])
def test_processes_do_not_know_each_other(room: str) -> None:
    assert not {"router", "shard", "api"} & (ALLOWED[room] - {room})


def _loaded_by(statement: str) -> set[str]:
    """Modules that a new interpreter has loaded after a statement."""
    code = f"import sys; before = set(sys.modules); {statement}; print('\\n'.join(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_flashq_loads_nothing_else() -> None:
    """A web application imports it at start, and most of its requests push nothing."""
    ours = {name for name in _loaded_by("import flashq") if name.startswith("flashq")}
    assert ours == {"flashq"}


def test_client_loads_no_server() -> None:
    loaded = _loaded_by("from flashq import Client, Queue, Worker, Job, SyncClient")
    rooms = {name.split(".")[1] for name in loaded if name.startswith("flashq.")}
    assert rooms <= GROUND | {"client", "protocol"}
    assert not loaded & {"zmq", "sqlalchemy", "uvloop", "typer", "rich", "structlog"}


def test_public_names_are_all_there() -> None:
    for name in flashq.__all__:
        assert getattr(flashq, name) is not None
    assert set(flashq.__all__) <= set(dir(flashq))
    with pytest.raises(AttributeError, match="no attribute 'Borker'"):
        flashq.Borker  # noqa: B018
