"""Aliases of registered models: which version is the champion, and which one was before."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, PREVIOUS = "champion", "previous-champion"


class UnknownModel(UserError):
    """The registry has no registered model of this name."""


def registered_model(client: "MlflowClient", name: str) -> Any:
    """The registered model as MLflow has it now.

    Raises:
        UnknownModel: there is none of this name.
    """
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        known = sorted(model.name for model in all_models(client))
        hint = f"it has {', '.join(known)}" if known else "it is empty"
        raise UnknownModel(f"the registry has no model '{name}'; {hint}") from None


def all_models(client: "MlflowClient") -> Iterator[Any]:
    """Every registered model; not our locks and lists, which are kept as models whose names have a dot."""
    token = None
    while True:
        page = client.search_registered_models(max_results=1000, page_token=token)
        yield from (model for model in page if "." not in model.name)
        token = page.token
        if not token:
            return


def champion_of(client: "MlflowClient", name: str) -> str | None:
    """The version that is the champion."""
    return alias_of(client, name, CHAMPION)


def alias_of(client: "MlflowClient", name: str, alias: str) -> str | None:
    """The version with an alias."""
    found = registered_model(client, name).aliases.get(alias)
    return None if found is None else str(found)
