"""The MLflow server that `make test-server` started, as the tests see it. Everything is on the loopback."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

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
        self.put_back(Saved())

    def saved(self) -> "Saved":
        """Return what the registry, the runs and the permissions hold."""
        tables: dict[tuple[str, str], bytes] = {}
        for address in self.databases:
            with _cursor(address) as cursor:
                for name in _tables(cursor):
                    content = BytesIO()
                    cursor.copy_expert(f'COPY "{name}" TO STDOUT', content)
                    tables[address, name] = content.getvalue()
        return Saved(tables)

    def put_back(self, saved: "Saved") -> None:
        """Make the registry, the runs and the permissions hold what was saved, and nothing else."""
        for address in self.databases:
            with _cursor(address) as cursor:
                names = _tables(cursor)
                quoted = ", ".join(f'"{name}"' for name in names)
                cursor.execute("SET session_replication_role = replica")  # tables in any order, whoever refers to whom
                cursor.execute(f"TRUNCATE {quoted} CASCADE")
                for name in names:
                    if content := saved.tables.get((address, name)):
                        cursor.copy_expert(f'COPY "{name}" FROM STDIN', BytesIO(content))


@dataclass(frozen=True)
class Saved:
    """The rows of a server's tables, by database and table."""

    tables: Mapping[tuple[str, str], bytes] = field(default_factory=dict)


@contextmanager
def _cursor(address: str) -> Iterator[Any]:
    import psycopg2

    connection = psycopg2.connect(address.replace("+psycopg2", ""))
    try:
        with connection, connection.cursor() as cursor:  # one transaction
            yield cursor
    finally:
        connection.close()


def _tables(cursor: Any) -> list[str]:
    """Return the tables that tests fill."""
    cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return [name for (name,) in cursor.fetchall() if not name.startswith(("alembic_version", "users", "workspaces"))]


def server_under_test() -> Server | None:
    """Return the server that tests are to use, or None for an SQLite file each."""
    path = os.environ.get(STATE)
    if not path:
        return None
    told = json.loads(Path(path).read_text("utf-8"))
    return Server(told["uri"], told["environment"], Path(told["artifacts"]), tuple(told["databases"]))
