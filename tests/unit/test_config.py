"""Settings: every source is read once, the later wins, and what is wrong is said in one line."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.config import FIELDS, RUN_BYTES_MAX, Settings, allowed, load, run_candidates
from flashq.errors import ConfigError


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _file(text: str, name: str = "flashq.toml") -> Path:
    path = Path(name)
    path.write_text(text)
    return path


def _error(environ: dict[str, str] | None = None, **flags: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(flags, environ=environ or {})
    return str(caught.value)


class TestSources:
    def test_defaults_are_safe(self) -> None:
        settings = load(environ={}).settings
        assert (settings.host, settings.port, settings.durability) == ("127.0.0.1", 6789, "fsync")
        assert 1 <= settings.shards <= 32
        assert settings.data == Path.cwd() / "data"

    def test_later_source_wins_and_is_named(self) -> None:
        _file("port = 1\nrouters = 2\ntags_max = 3")
        loaded = load({"port": 4}, environ={"FLASHQ_PORT": "5", "FLASHQ_ROUTERS": "6"})
        assert (loaded.settings.port, loaded.settings.routers, loaded.settings.tags_max) == (4, 6, 3)
        named = [loaded.sources[name] for name in ("port", "routers", "tags_max", "host")]
        assert named == ["flag", "FLASHQ_ROUTERS", "flashq.toml", "default"]

    def test_flag_that_was_not_given_changes_nothing(self) -> None:
        loaded = load({"port": None}, environ={"FLASHQ_PORT": "5"})
        assert (loaded.settings.port, loaded.sources["port"]) == (5, "FLASHQ_PORT")

    @pytest.mark.parametrize("alias", ["PORT", "TCP_PORT"])
    def test_names_of_older_servers_are_understood(self, alias: str) -> None:
        assert load(environ={alias: "7001"}).settings.port == 7001

    def test_own_name_wins_over_an_older_one(self) -> None:
        environ = {"PORT": "1", "TCP_PORT": "2", "FLASHQ_PORT": "3"}
        assert load(environ=environ).settings.port == 3
        del environ["FLASHQ_PORT"]
        assert load(environ=environ).settings.port == 2

    def test_what_kubernetes_tells_about_a_service_named_flashq_is_no_setting(self) -> None:
        """Every pod beside such a service would otherwise refuse to start."""
        environ = {
            "FLASHQ_PORT": "tcp://10.0.0.9:6789",
            "FLASHQ_SERVICE_HOST": "10.0.0.9",
            "FLASHQ_SERVICE_PORT": "6789",
            "FLASHQ_SERVICE_PORT_TCP": "6789",
            "FLASHQ_PORT_6789_TCP": "tcp://10.0.0.9:6789",
            "FLASHQ_PORT_6789_TCP_ADDR": "10.0.0.9",
        }
        assert load(environ=environ).settings.port == 6789

    def test_clients_variables_are_no_settings(self) -> None:
        assert load(environ={"FLASHQ_ADDRESS": "x", "FLASHQ_TOKEN": "y"}).settings == load(environ={}).settings

    def test_file_named_in_the_environment_is_read(self) -> None:
        path = _file("tags_max = 7", "other.toml")
        assert load(environ={"FLASHQ_CONFIG": str(path)}).settings.tags_max == 7

    def test_named_file_that_is_missing_is_an_error(self) -> None:
        with pytest.raises(ConfigError, match=r"configuration file gone\.toml: No such file"):
            load(environ={}, file=Path("gone.toml"))

    def test_file_that_is_no_toml_is_an_error(self) -> None:
        _file("port = ")
        assert _error().startswith("configuration file flashq.toml: ")

    @pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "postgresql+asyncpg://u:secret@h/d", "u:secret@h"])
    def test_database_of_another_make_is_refused_without_a_word_of_its_password(self, url: str) -> None:
        error = _error({"DATABASE_URL": url})
        assert error.startswith("database_url = ")
        assert "allowed is postgresql://" in error
        assert "secret" not in error
        assert "\n" not in error

    def test_database_and_memory_contradict_each_other(self) -> None:
        error = _error({"DATABASE_URL": "postgres://u:secret@h/d", "FLASHQ_DURABILITY": "memory"})
        assert error.startswith('durability = "memory"')
        assert "secret" not in error


class TestUnknownKeys:
    def test_nearest_known_one_is_named(self) -> None:
        _file('durabilty = "commit"')
        assert _error() == "unknown setting durabilty (flashq.toml): the nearest known one is durability"

    def test_variable_with_our_prefix_is_held_to_it_too(self) -> None:
        """A typing error in a deployment must not quietly mean the default."""
        assert _error({"FLASHQ_MAX_BACH": "5"}).endswith("(FLASHQ_MAX_BACH): the nearest known one is max_batch")

    def test_key_like_nothing_still_gets_an_answer(self) -> None:
        assert "the nearest known one is" in _error(zzzzzzzz=1)


class TestValues:
    def test_quantities_are_understood_in_file_and_environment(self) -> None:
        _file('segment_bytes = "1MiB"\ndefault_lease_ms = "30s"')
        loaded = load(environ={"FLASHQ_MAX_MEMORY": "2 GiB", "FLASHQ_DEFAULT_TTL_MS": "1h"}).settings
        assert (loaded.segment_bytes, loaded.default_lease_ms) == (1 << 20, 30_000)
        assert (loaded.max_memory, loaded.default_ttl_ms) == (2 << 30, 3_600_000)

    def test_tokens_are_trimmed_and_empty_parts_dropped(self) -> None:
        assert load(environ={"AUTH_TOKENS": " a, ,b,"}).settings.auth_tokens == ("a", "b")
        _file('auth_tokens = ["c", " d "]')
        assert load(environ={}).settings.auth_tokens == ("c", "d")

    @pytest.mark.parametrize(("text", "value"), [("1", True), ("Yes", True), ("false", False), ("off", False)])
    def test_switches_are_words(self, text: str, value: bool) -> None:
        assert load(environ={"FLASHQ_INSECURE": text}).settings.insecure is value

    def test_empty_path_means_unset(self) -> None:
        assert load(environ={"UNIX_SOCKET": "", "FLASHQ_RUN": ""}).settings == load(environ={}).settings

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("port", "65536"),
            ("port", "-1"),
            ("port", "6789.5"),
            ("shards", "0"),
            ("shards", "1025"),
            ("durability", "disk"),
            ("insecure", "maybe"),
            ("default_lease_ms", "5 parsecs"),
            ("backoff_jitter", "1.5"),
            ("backoff_jitter", "nan"),
            ("max_memory", "1MiB"),
            ("log_format", "xml"),
            ("host", ""),
        ],
    )
    def test_wrong_value_is_told_with_name_value_source_and_what_is_allowed(self, name: str, value: str) -> None:
        text = _error({f"FLASHQ_{name.upper()}": value})
        assert name in text
        assert allowed(name) in text
        assert value in text

    @pytest.mark.parametrize(
        "line", ["port = true", "port = 1.0", "insecure = 1", "host = 5", "data = []", "auth_tokens = [1]", "[port]"]
    )
    def test_wrong_type_in_the_file_is_told(self, line: str) -> None:
        _file(line)
        assert re.match(r"\w+ = .* \(flashq\.toml\): allowed is ", _error())

    @given(name=st.sampled_from(sorted(FIELDS)), value=st.text(st.characters(exclude_characters="\0"), max_size=20))
    def test_any_text_is_taken_or_refused_in_words(self, name: str, value: str) -> None:
        try:
            settings = load(environ={f"FLASHQ_{name.upper()}": value}).settings
        except ConfigError as error:
            told = str(error)
        else:
            told = f"{name} = {getattr(settings, name)!r}"
        assert name in told

    def test_built_by_hand_it_is_checked_alike(self) -> None:
        with pytest.raises(ConfigError, match="routers = 0"):
            Settings(routers=0)


class TestTheWhole:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "queue.example.com"])
    def test_address_others_reach_needs_a_token_or_the_word_insecure(self, host: str) -> None:
        assert "set auth_tokens" in _error({"FLASHQ_HOST": host})
        assert load(environ={"FLASHQ_HOST": host, "AUTH_TOKENS": "t"}).settings.host == host
        assert load(environ={"FLASHQ_HOST": host, "FLASHQ_INSECURE": "1"}).settings.host == host

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
    def test_own_machine_needs_none(self, host: str) -> None:
        assert load(environ={"FLASHQ_HOST": host}).settings.host == host

    def test_payload_must_fit_into_a_frame(self) -> None:
        assert "at most frame_bytes_max" in _error({"FLASHQ_FRAME_BYTES_MAX": "1MiB"})

    def test_tokens_show_neither_in_repr_nor_in_errors(self) -> None:
        settings = load(environ={"AUTH_TOKENS": "hunter2"}).settings
        assert "hunter2" not in repr(settings)
        _file('auth_tokens = ["hunter2", 5]')
        assert "hunter2" not in _error()


class TestFolders:
    def test_run_folder_follows_the_data_folder(self) -> None:
        one, two = Settings(data=Path("one")), Settings(data=Path("two"))
        assert one.run != two.run
        assert one.run == Settings(data=Path("one").absolute()).run

    def test_run_folder_is_in_the_users_runtime_folder_if_there_is_one(
        self, run_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(run_folder))
        assert Settings().run.parent == run_folder

    def test_runtime_folder_that_is_missing_or_too_long_is_passed_over(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
        assert Settings().run.parent == Path("/tmp")
        long = tmp_path / ("x" * RUN_BYTES_MAX)
        long.mkdir()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
        assert Settings().run.parent == Path("/tmp")

    def test_look_from_another_session_finds_the_run_folder(
        self, run_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A cluster started by a service manager has no runtime folder; the shell that asks for its status has."""
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        started = Settings().run
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(run_folder))
        assert started in run_candidates(Settings().data)

    def test_paths_too_long_for_sockets_are_refused(self) -> None:
        assert "allowed are 107 bytes" in _error({"UNIX_SOCKET": "/" + "s" * 107})
        assert f"allowed are {RUN_BYTES_MAX} bytes" in _error({"FLASHQ_RUN": "/" + "r" * RUN_BYTES_MAX})

    def test_home_is_understood(self) -> None:
        assert Settings(data=Path("~/flashq")).data == Path.home() / "flashq"


class TestArchive:
    def test_key_is_shown_nowhere(self) -> None:
        settings = load({"archive_dir": "kept", "archive_key": "a secret"}, environ={}).settings
        assert settings.archive_dir == Path.cwd() / "kept"
        assert "a secret" not in repr(settings)

    def test_archive_needs_a_journal_in_files_and_a_place_outside_of_them(self) -> None:
        kept = {"archive_dir": "kept"}
        assert "durability memory" in _error(**kept, durability="memory")
        assert "in the database" in _error(**kept, database_url="postgresql://u@h/d")
        assert "may not lie in data" in _error(archive_dir="data/kept")
        assert "may not lie in data" in _error(archive_dir="data")
        assert "archive_keep_bytes = '1 tree'" in _error(archive_keep_bytes="1 tree")
