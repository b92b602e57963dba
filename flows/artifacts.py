"""Artifacts of a run on Prefect's page: parameters, gates, pictures, links, and a short summary."""

import base64
import io
from pathlib import Path
from typing import Any

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from pipeline.evaluation.known_interval import figure_words, gate_words
from pipeline.files import read_json
from pipeline.layout import EVALUATION, REPORT_GRID, REPORT_PAGE
from pipeline.params import Params, dump_params, flat_params
from pipeline.registry.page_links import report_page, run_page, version_page

WIDTH = 1000  # pixels of the picture on the page
HEADLINES = ("likeness", "fidelity", "success", "copied")


def show_parameters(params: Params) -> None:
    """All parameters, as a table."""
    rows = [{"parameter": name, "value": value} for name, value in flat_params(dump_params(params)).items()]
    create_table_artifact(rows, key="parameters", description="params.yaml of this run")


def show_results(workspace: Path, registration: dict[str, Any]) -> None:
    """Gates, pictures, links to MLflow and the summary."""
    evaluation = read_json(workspace / EVALUATION)
    create_table_artifact(gate_rows(evaluation), key="gates", description=evaluation["verdict"]["sentence"])
    if (workspace / REPORT_GRID).is_file():
        picture = as_data(workspace / REPORT_GRID)
        create_image_artifact(picture, key="pictures", description="the same prompts: base and tuned")
    links = links_of(workspace, registration)
    for key, (words, address) in links.items():
        create_link_artifact(address, link_text=words, key=key, description=words)
    create_markdown_artifact(summary(registration, evaluation, links), key="fine-tune", description="what came out")


def gate_rows(evaluation: dict[str, Any]) -> list[dict[str, str]]:
    """A row for each gate: what was measured, what was wanted, and the verdict."""
    return [gate_words(gate) for gate in evaluation["gates"]]


def links_of(workspace: Path, registration: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Link text and address by key; empty without an MLflow server."""
    run = run_page(workspace, registration["run_id"])
    version = version_page(workspace, registration["model"], registration["version"])
    if run is None or version is None:
        return {}
    return {
        "mlflow-run": ("curves, pictures and files of the training in MLflow", run),
        "mlflow-version": (f"{registration['model']} version {registration['version']} in MLflow", version),
        "report": ("the report", report_page(run, registration["content_digest"])),
    }


def summary(registration: dict[str, Any], evaluation: dict[str, Any], links: dict[str, tuple[str, str]]) -> str:
    """Summary in Markdown, short enough for a phone: verdict, main figures, next commands."""
    lines = [
        f"## {registration['model']} version {registration['version']}{_placed(registration)}",
        "",
        f"**{evaluation['verdict']['sentence']}**",
        "",
    ]
    rows = {row["metric"]: row for row in evaluation["metrics"] if (row["model"], row["group"]) == ("tuned", "all")}
    for name in HEADLINES:
        if row := rows.get(name):
            lines.append(f"- {name}: {figure_words(row)}")
    failed = [gate["gate"] for gate in evaluation["gates"] if gate["verdict"] in ("failed", "missing")]
    lines += [f"- gates that did not pass: {', '.join(failed)}"] if failed else []
    advice = evaluation["verdict"].get("advice", [])
    lines += [f"- {line['gate']}: {line['cause']}. To change it: {line['change']}" for line in advice]
    lines += ["", *(f"- [{words}]({address})" for words, address in links.values())]
    promotes = f"`dreamtrace promote models:/{registration['model']}/{registration['version']}` makes it the champion. "
    lines += [
        "",
        f"run `{registration['run_id'][:12]}`, content `{registration['content_digest'][:12]}`",
        "",
        f"`dreamtrace trace models:/{registration['model']}/{registration['version']}` tells what it was made from"
        + (". " if registration.get("withdrawn") else f"; {promotes}")
        + ("" if links else f"The report is `{REPORT_PAGE}` in the workspace."),
    ]
    return "\n".join(lines)


def _placed(registration: dict[str, Any]) -> str:
    if registration.get("withdrawn"):
        return ", which is withdrawn and gets no alias"
    return f" ({registration['alias']})" if registration["alias"] else ", which leaves the alias to a better version"


def as_data(path: Path, width: int = WIDTH) -> str:
    """A picture as an address that holds the picture itself: the page needs no other server."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB")
    if small.width > width:
        small = small.resize((width, round(small.height * width / small.width)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
