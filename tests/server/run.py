"""PostgreSQL and an MLflow server with basic auth, on the loopback, and the registry's tests against them.

`python -m tests.server.run [pytest arguments]`; `make test-server` calls it. Everything lives in a temporary folder and
is gone afterwards. PostgreSQL refuses to run as root: root starts it as the user `postgres` of Debian's package.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.server.running import STATE

ROOT = Path(__file__).parents[2]
SUITES = ("tests/server", "tests/registry", "tests/cli", "tests/concurrency")
START_SECONDS, RUN_SECONDS = 180.0, 3000.0
ADMIN = "admin"


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def programs() -> Path:
    """Return the folder of PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    if not found:
        sys.exit("PostgreSQL is not installed. `make postgresql` installs Debian's package (as root).")
    return found[-1].parent


def as_postgres() -> dict[str, Any]:
    """Return the arguments of subprocess that give up root's rights."""
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}


@contextmanager
def postgresql(folder: Path) -> Iterator[dict[str, str]]:
    """Run a PostgreSQL of our own; yield the addresses of two empty databases."""
    data, sockets, port, rights = folder / "data", folder / "sockets", free_port(), as_postgres()
    subprocess.run(["install", "-d", *(["-o", "postgres"] if rights else []), str(data), str(sockets)], check=True)
    tools = programs()
    quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "cwd": "/", **rights}
    subprocess.run([tools / "initdb", "-D", data, "-U", "compass", "-A", "trust", "-E", "UTF8"], **quiet)
    settings = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={sockets}", "fsync=off"]
    options = [part for setting in settings for part in ("-c", setting)]
    with (folder / "postgresql.log").open("wb") as log:
        server = subprocess.Popen([tools / "postgres", "-D", data, *options], stdout=log, stderr=log, cwd="/", **rights)
    try:
        ready = [str(tools / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-t", "2", "-q"]
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, server, folder / "postgresql.log")
        names = ("mlflow", "auth")
        for name in names:
            subprocess.run([tools / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "compass", name], **quiet)
        # SQLAlchemy 2.1 means another driver by the plain name.
        yield {name: f"postgresql+psycopg2://compass@127.0.0.1:{port}/{name}" for name in names}
    finally:
        server.send_signal(signal.SIGINT)  # "fast": open sessions are ended
        server.wait(60)


@contextmanager
def mlflow_server(folder: Path, databases: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Run an MLflow server; yield what `tests.server.running` reads."""
    port, password = free_port(), secrets.token_hex(12)
    artifacts = folder / "artifacts"
    settings = folder / "auth.ini"
    settings.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {databases['auth']}\nadmin_username = {ADMIN}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\nauth_cache_ttl_seconds = 30\n"
    )
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "2", "--artifacts-destination", str(artifacts)]
    command += ["--backend-store-uri", databases["mlflow"]]
    environment = {
        **os.environ,
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven processes that look for work of other kinds
    }
    log = folder / "mlflow.log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            command, stdout=file, stderr=file, env=environment, cwd=folder, start_new_session=True
        )
    uri = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{uri}/health"), server, log)
        yield {
            "uri": uri,
            "environment": {"MLFLOW_TRACKING_USERNAME": ADMIN, "MLFLOW_TRACKING_PASSWORD": password},
            "artifacts": str(artifacts),
            "databases": [databases["mlflow"], databases["auth"]],
        }
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def answers(address: str) -> bool:
    """Whether a server of ours answers."""
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_until(ready: Callable[[], bool], server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until a server answers, or end with the last lines of its log."""
    until = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > until or server.poll() is not None:
            sys.exit(f"{server.args!r} did not start:\n{log.read_text('utf-8')[-4000:]}")
        time.sleep(0.3)


def main() -> int:
    """Start both, run the tests, stop both; return pytest's exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # whoever ends this ends both servers too
    with tempfile.TemporaryDirectory(prefix="compass.server.") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with postgresql(folder) as databases, mlflow_server(folder, databases) as told:
            state = folder / "server.json"
            state.write_text(json.dumps(told), "utf-8")
            command = [sys.executable, "-m", "pytest", "-q", *(sys.argv[1:] or SUITES)]
            done = subprocess.run(
                command, cwd=ROOT, env={**os.environ, STATE: str(state)}, timeout=RUN_SECONDS, check=False
            )
            if done.returncode:
                sys.stderr.write((folder / "mlflow.log").read_text("utf-8")[-3000:])
            return done.returncode


if __name__ == "__main__":
    sys.exit(main())
