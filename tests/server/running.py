"""The MLflow server that `make test-server` started, as the tests see it. Everything is on the loopback."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STATE = "COMPASS_TEST_SERVER"  # a file that describes the running server


@dataclass(frozen=True)
class Server:
    """A running server: its address, who tests are, where files lie, and its two databases."""

    uri: str
    environment: Mapping[str, str]
    artifacts: Path
    databases: tuple[str, str]

    def empty(self) -> None:
        """Take everything out of the registry, the runs and the permissions; users stay."""
        import psycopg2

        for address in self.databases:
            connection = psycopg2.connect(address.replace("+psycopg2", ""))
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
                kept = ("alembic_version", "users", "workspaces")
                names = [f'"{name}"' for (name,) in cursor.fetchall() if not name.startswith(kept)]
                cursor.execute(f"TRUNCATE {', '.join(names)} CASCADE")
            connection.close()


def server_under_test() -> Server | None:
    """Return the server that tests are to use, or None for an SQLite file each."""
    path = os.environ.get(STATE)
    if not path:
        return None
    told = json.loads(Path(path).read_text("utf-8"))
    return Server(told["uri"], told["environment"], Path(told["artifacts"]), tuple(told["databases"]))
