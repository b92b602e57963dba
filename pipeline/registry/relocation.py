"""A workspace that was moved or copied: its database still names the files of the old folder, by absolute paths.

MLflow keeps absolute addresses, and has no call that changes them. The database of a workspace is that workspace's
own, so the addresses in it are corrected when it is opened.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Address:
    """One address in the database: where its files would be in this workspace, and where it says that they are."""

    table: str
    key: str
    column: str
    row: object
    home: str
    root: Path
    here: Path
    there: Path


def correct_addresses(database: Path, artifacts: Path) -> int:
    """Let the addresses in `database` that lead into another folder called like `artifacts` lead into `artifacts`.

    A folder was moved or copied here where files that it names are in `artifacts`; of its addresses those are changed
    whose files are here, or are no longer in the old place. Files that other workspaces keep for themselves stay as
    they are, also while their disk is away. An experiment goes where its runs are.

    Returns:
        How many addresses were changed.

    Raises:
        sqlite3.Error: the database cannot be read or written.
    """
    with closing(sqlite3.connect(database, timeout=WAIT_S)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "experiments" not in tables:
            return 0
        found = [
            address
            for table, key, column in ADDRESSES
            if table in tables
            for address in _elsewhere(connection, table, key, column, artifacts)
        ]
        runs: dict[object, list[str]] = {}
        for experiment, run in connection.execute("SELECT experiment_id, run_uuid FROM runs"):
            runs.setdefault(experiment, []).append(run)
        came = {item.root for item in found if item.table != "experiments" and item.here.exists()}
        changes = [item for item in found if _belongs_here(item, came, runs)]
        if changes:
            with connection:
                for item in changes:
                    statement = f"UPDATE {item.table} SET {item.column} = ? WHERE {item.key} = ?"
                    connection.execute(statement, (item.home, item.row))
    return len(changes)


def _belongs_here(address: _Address, came: set[Path], runs: dict[object, list[str]]) -> bool:
    if address.table == "experiments":
        own = runs.get(address.row, [])
        return any((address.here / run).exists() for run in own) or (not own and not address.root.exists())
    return address.here.exists() or (address.root in came and not address.there.exists())


def _elsewhere(
    connection: sqlite3.Connection, table: str, key: str, column: str, artifacts: Path
) -> Iterator[_Address]:
    """The addresses of a table that lead into another folder called like `artifacts`."""
    for row, text in connection.execute(f"SELECT {key}, {column} FROM {table} WHERE {column} IS NOT NULL").fetchall():
        parsed = urlparse(str(text))
        path = Path(unquote(parsed.path))
        if parsed.scheme not in ("", "file") or artifacts.name not in path.parts or path.is_relative_to(artifacts):
            continue
        last = len(path.parts) - path.parts[::-1].index(artifacts.name)
        root, below = Path(*path.parts[:last]), Path(*path.parts[last:])
        here = artifacts / below
        yield _Address(table, key, column, row, here.as_uri(), root, here, path)
