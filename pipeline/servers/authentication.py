"""A password in front of the pages."""

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import UserError
from pipeline.servers.start_commands import LEASES

USER = "dreamtrace"
PASSWORD = "DREAMTRACE_PASSWORD"
LEAST = 12  # characters; MLflow refuses shorter ones


class AccessError(UserError):
    """The password cannot be used."""


@dataclass(frozen=True)
class Access:
    """Environments of the servers and of their clients, and a line for the person who started them."""

    prefect: dict[str, str]
    mlflow: dict[str, str]
    client: dict[str, str] = field(default_factory=dict)
    studio: dict[str, str] = field(default_factory=dict)
    notice: str = ""


def open_access(folder: Path, with_auth: bool) -> Access:
    """The password of DREAMTRACE_PASSWORD, or one made on the first call and kept in a file that only its owner reads.

    Raises:
        AccessError: the password is too short, or holds a colon.
    """
    mlflow = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # seven processes that judge language models
    prefect = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    if not with_auth:
        return Access(
            prefect,
            mlflow,
            notice="NO PASSWORD: every user and program of this machine can start commands through Prefect's API",
        )
    password, where = password_of(folder)
    both = f"{USER}:{password}"
    database = folder / "mlflow-auth.db"
    if database.is_file():
        renew_password(f"sqlite:///{database}", password)
    config = folder / "mlflow-auth.ini"
    _write(
        config,
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = sqlite:///{database}\n"
        f"admin_username = {USER}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 60\n",
    )
    return Access(
        prefect | {"PREFECT_SERVER_API_AUTH_STRING": both, "PREFECT_API_AUTH_STRING": both},
        mlflow
        | {
            "MLFLOW_AUTH_CONFIG_PATH": str(config),
            "MLFLOW_AUTH_ADMIN_PASSWORD": password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_urlsafe(32),
        },
        {
            "PREFECT_API_AUTH_STRING": both,
            "MLFLOW_TRACKING_USERNAME": USER,
            "MLFLOW_TRACKING_PASSWORD": password,
        },
        {PASSWORD: password},
        f"password user {USER}, password {where}; Prefect's page asks for both as user:password",
    )


def password_of(folder: Path) -> tuple[str, str]:
    """The password of DREAMTRACE_PASSWORD, or one that is kept in a file of `folder`; and where it is.

    Raises:
        AccessError: the password is too short, or holds a colon.
    """
    if os.environ.get(PASSWORD):
        return password_given(), f"as in {PASSWORD}"
    file = folder / "password"
    return _checked(_kept(file), str(file)), f"in {file}"


def password_given() -> str:
    """The password of DREAMTRACE_PASSWORD.

    Raises:
        AccessError: it is missing, too short, or holds a colon.
    """
    return _checked(os.environ.get(PASSWORD, ""), PASSWORD)


def renew_password(database: str, password: str) -> bool:
    """MLflow takes its administrator's password on the first start only; later ones are set here.

    Args:
        database: the address of the one that MLflow keeps its users in.

    Returns:
        Whether the user was there with another password.
    """
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore()
    store.init_db(database)
    stale = store.has_user(USER) and not store.authenticate_user(USER, password)
    if stale:
        store.update_user(USER, password=password)
    return stale


def _checked(password: str, where: str) -> str:
    if len(password) < LEAST or ":" in password or any(letter.isspace() for letter in password):
        raise AccessError(f"{where} needs {LEAST} characters or more, none of them a colon or a space")
    return password


def _kept(file: Path) -> str:
    if not file.is_file():
        _write(file, secrets.token_urlsafe(18) + "\n")
    return file.read_text(encoding="utf-8").strip()


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as handle:
        handle.write(text)
