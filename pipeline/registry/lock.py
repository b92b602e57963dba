"""One promotion at a time, whatever machine it comes from: a registered model's name can be taken only once."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

STALE = 900  # seconds after which a lock belongs to nobody any more


class Busy(UserError):
    """Another promotion of the same model is under way."""


@contextmanager
def promotion_lock(client: "MlflowClient", name: str, by: str) -> Iterator[None]:
    """Hold the right to move the aliases of the model `name`.

    It is a registered model `<name>.promoting` without versions, because making one is atomic in every store. One that
    a killed promotion left is taken over after `STALE` seconds.

    Raises:
        Busy: somebody else holds it.
    """
    from mlflow.exceptions import MlflowException

    lock, token = f"{name}.promoting", uuid.uuid4().hex
    tags = {"token": token, "by": by, "at": str(int(time.time()))}
    for _ in range(2):
        try:
            client.create_registered_model(lock, tags=tags, description="a promotion is under way")
            break
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            _take_over(client, lock, name)
    else:
        raise Busy(f"another promotion of {name} has just begun; try again in a minute")
    try:
        yield
    finally:
        client.delete_registered_model(lock)


def _take_over(client: "MlflowClient", lock: str, name: str) -> None:
    """Remove a lock that is old; complain about one that is not."""
    from mlflow.exceptions import MlflowException

    try:
        held = client.get_registered_model(lock).tags
        age = int(time.time()) - int(held.get("at", 0))
        if age < STALE:
            raise Busy(
                f"{held.get('by', 'somebody')} began to promote a version of {name} {age} s ago; if that was "
                f"interrupted, its lock expires in {STALE - age} s"
            )
        client.delete_registered_model(lock)
    except MlflowException:
        return  # given back in the meantime
