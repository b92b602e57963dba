"""One at a time, whatever machine it comes from: a registered model's name can be taken only once."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

STALE = 900  # seconds after which a promotion's lock belongs to nobody any more
MOMENT = 60  # the same of a registration's, which is held for two requests
PATIENCE = 180  # seconds that a registration waits for others


class Busy(UserError):
    """Somebody else is changing the same model."""


@contextmanager
def promotion_lock(client: "MlflowClient", name: str, by: str) -> Iterator[None]:
    """Hold the right to move the aliases of the model `name`: a registered model `<name>.promoting` without versions.

    One that a killed promotion left is taken over after `STALE` seconds.

    Raises:
        Busy: somebody else holds it.
    """
    lock = f"{name}.promoting"
    for _ in range(2):
        if token := _take(client, lock, by):
            break
        if (age := _expire(client, lock, STALE)) is not None:
            raise Busy(
                f"{by_whom(client, lock)} began to move the aliases of {name} {age} s ago; if that was interrupted, "
                f"its lock expires in {STALE - age} s"
            )
    else:
        raise Busy(f"another promotion of {name} has just begun; try again in a minute")
    try:
        yield
    finally:
        _give_back(client, lock, token)


@contextmanager
def registration_lock(client: "MlflowClient", name: str) -> Iterator[None]:
    """Hold the right to add versions to the model `name`; others wait for the moment that it takes.

    One that a killed registration left is taken over after `MOMENT` seconds.

    Raises:
        Busy: it was not to be had within `PATIENCE` seconds.
    """
    lock = f"{name}.registering"
    end = time.monotonic() + PATIENCE
    while (token := _take(client, lock, "register")) is None:
        _expire(client, lock, MOMENT)
        if time.monotonic() > end:
            raise Busy(f"other registrations of {name} have kept this one waiting for {PATIENCE} s; run it again")
        time.sleep(0.1)
    try:
        yield
    finally:
        _give_back(client, lock, token)


def by_whom(client: "MlflowClient", lock: str) -> str:
    """Who holds a lock."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_registered_model(lock).tags.get("by", "somebody"))
    except MlflowException:
        return "somebody"


def _take(client: "MlflowClient", lock: str, by: str) -> str | None:
    """The token of a lock that is now ours; None where somebody has it. Making the name is atomic in every store."""
    from mlflow.exceptions import MlflowException

    token = uuid.uuid4().hex
    tags = {"token": token, "by": by, "at": str(int(time.time()))}
    try:
        client.create_registered_model(lock, tags=tags, description="somebody is at work here")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return None
    return token


def _expire(client: "MlflowClient", lock: str, stale: int) -> int | None:
    """Remove a lock that is old; the age in seconds of one that is not, None where the way is free now."""
    from mlflow.exceptions import MlflowException

    try:
        age = int(time.time()) - int(client.get_registered_model(lock).tags.get("at", 0))
        if age < stale:
            return age
        client.delete_registered_model(lock)
    except MlflowException:
        pass  # given back in the meantime
    return None


def _give_back(client: "MlflowClient", lock: str, token: str) -> None:
    """Remove a lock, unless it expired and is somebody else's by now."""
    from mlflow.exceptions import MlflowException

    try:
        if client.get_registered_model(lock).tags.get("token") == token:
            client.delete_registered_model(lock)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
