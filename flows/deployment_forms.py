"""Brings the forms of the deployments on a Prefect server into shape; run after `prefect deploy`."""

from pathlib import Path

import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate

from flows.forms import finish_schema, photo_places


def ours(repository: Path) -> set[tuple[str, str]]:
    """Name and entry point of every deployment in prefect.yaml; another project's may have the same name."""
    listed = yaml.safe_load((repository / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    return {(entry["name"], entry["entrypoint"]) for entry in listed}


def finish_forms(repository: Path) -> int:
    """Update the schema of every deployment of ours that differs; returns how many did."""
    places, own, changed = photo_places(repository), ours(repository), 0
    with get_client(sync_client=True) as client:
        for found in client.read_deployments():
            if (found.name, found.entrypoint) not in own or not found.parameter_openapi_schema:
                continue
            wanted = finish_schema(found.parameter_openapi_schema, places)
            if wanted != found.parameter_openapi_schema or not found.enforce_parameter_schema:
                update = DeploymentUpdate(parameter_openapi_schema=wanted, enforce_parameter_schema=True)
                client.update_deployment(found.id, update)
                changed += 1
    return changed


if __name__ == "__main__":
    print(f"{finish_forms(Path())} forms finished")
