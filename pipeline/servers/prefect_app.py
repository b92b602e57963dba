"""Prefect's API as an application that uvicorn serves for one command: no page, no scheduler."""

from typing import Any


def app() -> Any:
    """The application; its database is that of Prefect's settings, by default the user's SQLite file."""
    from prefect.server.api.server import create_app

    return create_app(ephemeral=True, final=True)
