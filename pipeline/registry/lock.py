"""One writer at a time, whatever machine it works on: the name of a registered model can be taken only once.

How old a lock is, is measured between two timestamps that MLflow wrote, when the lock was made and when somebody asked.
Behind an MLflow server both are of the server's clock. Clients that open the database themselves write their own: their
clocks must agree to within a few seconds (NTP).

MLflow has no conditional delete. Between the look at an expired lock and its removal another client may take its place,
so a holder calls `Held.confirm` before it moves an alias.
"""

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import NotNow

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

STALE = 900  # seconds after which the lock of a promotion counts as abandoned
MOMENT = 60  # the same of a registration's, which is held for two requests
UNNAMED = "changing it"  # what a holder does that does not say
DESCRIPTION = "A lock of dreamtrace, held while aliases or versions change; not a model"
# What MLflow's database says of a row that was there when it was read, and not any more when it was written.
GONE_MEANWHILE = re.compile(r"expected to (update|delete) 1 row\(s\); 0 were matched")
PATIENCE = 180  # seconds that a registration waits for others


class Busy(NotNow):
    """Another process is changing the same model."""


@dataclass(frozen=True)
class Held:
    """A lock that was taken by this process."""

    client: "MlflowClient"
    lock: str
    token: str

    def confirm(self) -> None:
        """Check that the lock is still held by this process.

        Raises:
            Busy: it expired, and another process has it.
        """
        if _token_of(self.client, self.lock) != self.token:
            raise Busy(f"this took longer than {STALE} s, and its lock expired; run the same command again")


@contextmanager
def promotion_lock(
    client: "MlflowClient", name: str, by: str, patience: float = 0, work: str = UNNAMED
) -> Iterator[Held]:
    """Hold the right to move the aliases of the model `name`: a registered model `<name>.promoting` without versions.

    One that a killed promotion left is taken over after `STALE` seconds.

    Args:
        patience: seconds to wait for another holder.
        work: what the holder does, for the message to others, such as 'promoting a version'.

    Raises:
        Busy: another process holds it.
    """
    lock = f"{name}.promoting"
    end = time.monotonic() + patience
    while (token := _take(client, lock, by, work)) is None:
        age = _expire(client, lock, STALE)
        if age is not None and time.monotonic() >= end:
            raise Busy(
                f"{name} is in use: {_holder(client, lock)} (started {age} s ago); run the same command again when "
                f"that is done; if that process died, its lock expires in {STALE - age} s"
            )
        if age is not None:
            time.sleep(0.2)
    try:
        yield Held(client, lock, token)
    finally:
        _give_back(client, lock, token)


@contextmanager
def registration_lock(client: "MlflowClient", name: str) -> Iterator[None]:
    """Hold the right to add versions to the model `name`; others wait for the moment that it takes.

    One that a killed registration left is taken over after `MOMENT` seconds.

    Raises:
        Busy: others held it for `PATIENCE` seconds.
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


def _holder(client: "MlflowClient", lock: str) -> str:
    """Who holds a lock, and what for, as far as it says."""
    from mlflow.exceptions import MlflowException

    try:
        tags = client.get_registered_model(lock).tags
    except MlflowException:
        tags = {}
    return f"{tags.get('by', 'somebody')} is {tags.get('work', UNNAMED)}"


def _take(client: "MlflowClient", lock: str, by: str, work: str = UNNAMED) -> str | None:
    """The token of a lock that is now ours; None where somebody has it. Making the name is atomic in every store."""
    from mlflow.exceptions import MlflowException

    token = uuid.uuid4().hex
    tags = {"token": token, "by": by, "work": work}
    try:
        client.create_registered_model(lock, tags=tags, description=DESCRIPTION)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return None
    return token


def _expire(client: "MlflowClient", lock: str, stale: int) -> int | None:
    """Remove a lock that is old; the age in seconds of one that is not, None where the way is free now."""
    from mlflow.exceptions import MlflowException

    try:
        token = _token_of(client, lock)
        asked = client.update_registered_model(lock, description=DESCRIPTION)  # stamped with the store's present time
        age = max(0, (int(asked.last_updated_timestamp) - int(asked.creation_timestamp)) // 1000)
        if age < stale:
            return age
        if _token_of(client, lock) == token:
            client.delete_registered_model(lock)
    except MlflowException as error:
        if not _is_gone(error):
            raise
    return None


def _is_gone(error: "MlflowException") -> bool:
    """Whether it says that a lock is not there: nobody made it, or somebody removed it while it was being changed."""
    return error.error_code == "RESOURCE_DOES_NOT_EXIST" or GONE_MEANWHILE.search(str(error)) is not None


def _token_of(client: "MlflowClient", lock: str) -> str | None:
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_registered_model(lock).tags.get("token")
    except MlflowException as error:
        if not _is_gone(error):
            raise
        return None
    return None if found is None else str(found)


def _give_back(client: "MlflowClient", lock: str, token: str) -> None:
    """Remove a lock, unless it expired and is somebody else's by now."""
    from mlflow.exceptions import MlflowException

    try:
        if _token_of(client, lock) == token:
            client.delete_registered_model(lock)
    except MlflowException as error:
        if not _is_gone(error):
            raise
