"""The main job: photos in, a judged and registered model out."""

from pathlib import Path
from typing import Any

from prefect import flow

from flows.stage_sequence import bring_up_to_date


@flow(name="fine-tune", flow_run_name="{workspace.name}")
def fine_tune(workspace: Path = Path()) -> dict[str, Any]:
    """Bring all stages of a workspace up to date and return what `register` wrote.

    Args:
        workspace: folder with dvc.yaml, params.yaml and the photos.
    """
    return bring_up_to_date(workspace)


if __name__ == "__main__":
    fine_tune()
