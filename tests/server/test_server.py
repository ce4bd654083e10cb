"""A shared server: who may not, who cannot be reached, and answers that get lost. Run by `make test-server`."""

import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

from compass_ops.errors import RegistryError
from compass_ops.registry.checkup import examine, repair
from compass_ops.registry.location import RegistryLocation, registry_location
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from tests.registry.conftest import Decisions, ask, decisions, migrated, on_file, project, store
from tests.registry.test_reconcile import promote, shown
from tests.server.run import ROOT, free_port
from tests.server.running import Server, server_under_test

__all__ = ["decisions", "migrated", "on_file", "project", "store"]


@pytest.fixture
def server() -> Server:
    found = server_under_test()
    if found is None:
        pytest.skip("no server: `make test-server` starts one")
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up soon."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")


@contextmanager
def losing_answers(uri: str, path: str) -> Iterator[tuple[str, list[str]]]:
    """Stand between client and server, and lose the answer to the first POST of ``path``; yield address and losses."""
    target = urlsplit(uri)
    lost: list[str] = []

    class Between(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            connection = HTTPConnection(str(target.hostname), target.port, timeout=30)
            headers = {key: value for key, value in self.headers.items() if key.lower() != "host"}
            with closing(connection):
                connection.request(self.command, self.path, self.rfile.read(size) if size else None, headers)
                answer = connection.getresponse()
                content = answer.read()
            if self.command == "POST" and self.path.endswith(path) and not lost:
                lost.append(self.path)
                self.close_connection = True
                return
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = pass_on

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    between = ThreadingHTTPServer(("127.0.0.1", 0), Between)
    Thread(target=between.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{between.server_address[1]}", lost
    finally:
        between.shutdown()
        between.server_close()


def test_a_server_that_cannot_be_reached_is_named_soon(quick: None, project: Path) -> None:
    store = RegistryStore(registry_location(f"http://ann:secret@127.0.0.1:{free_port()}", "compass"))
    started = time.monotonic()
    with pytest.raises(
        RegistryError, match=r"http://\*\*\*@127.0.0.1:\d+: reading .* Check that the .* server can be"
    ) as caught:
        store.read()
    assert "secret" not in str(caught.value)
    assert time.monotonic() - started < 30


def test_wrong_credentials_say_which_to_set_and_change_nothing(
    server: Server, store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_PASSWORD", "expired long ago")
        for action in (store.read, lambda: ask(store, "rolled back", "sw")):
            with pytest.raises(RegistryError, match="Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"):
                action()
    assert store.read_language("sw").state.production == "2"
    assert examine(store, ["sw"]) == []


def test_who_may_only_read_reads_and_changes_nothing(
    server: Server, store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.server import get_app_client

    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    name = f"reader{free_port()}"
    get_app_client("basic-auth", tracking_uri=server.uri).create_user(name, "a long password")
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", name)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", "a long password")
        assert store.read()["sw"].state.production == "2"
        with store.opened(store.read_language("sw").versions["2"]):
            pass
        with pytest.raises(RegistryError, match="Ask the server's administrator for the permission"):
            ask(store, "rolled back", "sw")
    assert len(store.read_language("sw").state.entries) == 2
    assert examine(store, ["sw"]) == []


def test_an_entry_whose_answer_was_lost_is_in_the_history_once(
    server: Server, store: RegistryStore, decisions: Decisions
) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    with losing_answers(server.uri, "/model-versions/create") as (uri, lost):
        through = RegistryStore(RegistryLocation(uri, "compass", store.location.root))
        assert ask(through, "rolled back", "sw").version == "1"
    assert len(lost) == 1
    assert [entry.kind for entry in store.read_language("sw").state.entries] == ["promoted", "promoted", "rolled back"]
    written = open_client(store.location).search_model_versions("name = 'compass-history'")
    assert len(written) == 4  # one of them void
    assert shown(store) == ({"1": "Production", "2": "Archived"}, {"champion": "1"})


@pytest.mark.parametrize("path", ["/model-versions/transition-stage", "/registered-models/alias"])
def test_a_stage_or_alias_whose_answer_was_lost_is_written_all_the_same(
    server: Server, store: RegistryStore, decisions: Decisions, path: str
) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    with losing_answers(server.uri, path) as (uri, lost):
        ask(RegistryStore(RegistryLocation(uri, "compass", store.location.root)), "rolled back", "sw")
    assert len(lost) == 1
    assert shown(store) == ({"1": "Production", "2": "Archived"}, {"champion": "1"})


def test_the_permissions_that_the_page_names_are_enough_and_no_more(
    server: Server, store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.server import get_app_client

    for language in ("sw", "tr"):
        promote(store, decisions, language, 1)
        promote(store, decisions, language, 2)
    (block,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "server.md").read_text("utf-8"), re.M | re.S)
    name = f"ann{free_port()}"
    exec(block.replace("http://127.0.0.1:5000", server.uri).replace('"ann"', f'"{name}"'), {})
    assert get_app_client("basic-auth", tracking_uri=server.uri).get_user(name).is_admin is False
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", name)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", "a long password")
        ask(store, "rolled back", "sw")
        with pytest.raises(RegistryError, match=r"It is done, .* lag behind: .*for the permission.*doctor --repair"):
            ask(store, "rolled back", "tr")
    assert shown(store) == ({"1": "Production", "2": "Archived"}, {"champion": "1"})
    assert [finding.kind for finding in examine(store, ["sw", "tr"])] == ["disagreement", "disagreement"]
    repair(store, examine(store, ["sw", "tr"]), "doctor")
    assert shown(store, "tr") == ({"1": "Production", "2": "Archived"}, {"champion": "1"})
