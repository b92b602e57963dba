"""A workspace that was moved or copied: its database still names the files of the old folder, by absolute paths.

MLflow keeps absolute addresses, and has no call that changes them. The database of a workspace is that workspace's
own, so the addresses in it are corrected when it is opened.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

# Where MLflow keeps addresses of files: table, its key, the column.
ADDRESSES = (
    ("experiments", "experiment_id", "artifact_location"),
    ("runs", "run_uuid", "artifact_uri"),
    ("logged_models", "model_id", "artifact_location"),
    ("model_versions", "rowid", "source"),
    ("model_versions", "rowid", "storage_location"),
)
WAIT_S = 30.0


def correct_addresses(database: Path, artifacts: Path) -> int:
    """Let the addresses in `database` that lead into another folder called like `artifacts` lead into `artifacts`.

    An address is changed where its files are in `artifacts`, or where they are not in the old place either: files that
    other workspaces keep for themselves stay as they are. An experiment goes where its runs are.

    Returns:
        How many addresses were changed.

    Raises:
        sqlite3.Error: the database cannot be read or written.
    """
    home = f"{artifacts.as_uri()}/"
    with closing(sqlite3.connect(database, timeout=WAIT_S)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "experiments" not in tables:
            return 0
        changes = [
            (f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (new, row))
            for table, key, column in ADDRESSES
            if table in tables
            for row, new in _moved(connection, table, key, column, home, artifacts)
        ]
        if changes:
            with connection:
                for statement, values in changes:
                    connection.execute(statement, values)
    return len(changes)


def _moved(
    connection: sqlite3.Connection, table: str, key: str, column: str, home: str, artifacts: Path
) -> Iterator[tuple[object, str]]:
    """Rows of a table whose address must change, and the new one."""
    part = f"/{artifacts.name}"
    query = f"SELECT {key}, {column} FROM {table} WHERE {column} LIKE ? AND {column} NOT LIKE ?"
    for row, address in connection.execute(query, (f"%{part}%", f"{home}%")).fetchall():
        before, found, after = str(address).rpartition(f"{part}/")
        if not found:
            before, found, after = str(address).rpartition(part)
            if after:
                continue
        old = urlparse(f"{before}{part}")
        if old.scheme not in ("", "file") or Path(unquote(old.path)) == artifacts:
            continue
        here, there = artifacts / unquote(after), Path(unquote(old.path)) / unquote(after)
        if table == "experiments":
            runs = connection.execute("SELECT run_uuid FROM runs WHERE experiment_id = ?", (row,)).fetchall()
            moved = any((here / run).exists() for (run,) in runs)
        else:
            moved = here.exists()
        if moved or not there.exists():
            yield row, f"{home}{after}".rstrip("/")
