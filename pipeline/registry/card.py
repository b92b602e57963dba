"""The description of a registered version: a model card in Markdown."""

from typing import Any
from urllib.parse import quote

from pipeline.errors import counted
from pipeline.evaluation.known_interval import interval_words
from pipeline.params import recorded_batch

MOST = 5000  # characters of a description that MLflow keeps on PostgreSQL; more is refused
CUT = "\n\n(cut off: the registry keeps no more; the report has all of it)"


def model_card(run_id: str, version: str, name: str, lineage: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """Pictures, use, data, base, parameters, figures and limits of one version, from its record and its evaluation.

    Where that is longer than a registry keeps, the table of figures gives way to the report, which has all of them.
    """
    for figures in (_figures(evaluation), ["All figures are in the report, among the run's artifacts."]):
        card = _card(run_id, version, name, lineage, evaluation, figures)
        if len(card) <= MOST:
            return card
    return f"{card[: MOST - len(CUT)]}{CUT}"


def _figures(evaluation: dict[str, Any]) -> list[str]:
    """A line for each metric: over all prompts, over training captions, or over the only group that it has."""
    over_all = {row["metric"] for row in evaluation["metrics"] if row["group"] == "all"}
    places: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in evaluation["metrics"]:
        if row["group"] in ("all", "training captions") or row["metric"] not in over_all:
            places.setdefault((row["metric"], row["group"]), {})[row["model"]] = row
    lines = ["| figure | prompts | tuned | interval | base |", "| --- | --- | --- | --- | --- |"]
    for (metric, group), rows in places.items():
        tuned, base = rows.get("tuned"), rows.get("base")
        if tuned is not None:
            between = interval_words(tuned)
            plain = "" if base is None else f"{base['value']:.4f}"
            lines.append(f"| {metric} | {group} | {tuned['value']:.4f} | {between} | {plain} |")
    return lines


def _card(
    run_id: str,
    version: str,
    name: str,
    lineage: dict[str, Any],
    evaluation: dict[str, Any],
    figures: list[str],
) -> str:
    subject, base, photos, code = lineage["subject"], lineage["base"], lineage["photos"], lineage["code"]
    train = lineage["params"]["train"]
    held = sum(photo["split"] == "heldout" for photo in photos["files"])
    commit = code["commit"] or "unknown"
    prompt = f"a watercolor painting of {subject['token']} {subject['class_noun']}"
    path = quote(f"report/{lineage['weights']['content_digest'][:16]}/grid.png", safe="")
    picture = f"/get-artifact?path={path}&run_uuid={run_id}"  # of the MLflow server that shows this page
    revision = f" at `{base['revision']}`" if base["revision"] else ""
    state = {True: "", False: ", with changes that the record keeps as a patch", None: ""}[code["clean"]]
    return "\n".join(
        [
            f"# {name}: {subject['token']} {subject['class_noun']}",
            "",
            evaluation["verdict"]["sentence"],
            "",
            f"![photos of the subject, and the same prompts drawn by the base and by this model]({picture})",
            "",
            "## Use",
            f"Write `{subject['token']} {subject['class_noun']}` or `{subject['token']}` in a prompt to draw it.",
            "",
            "```bash",
            f'dreamtrace generate "{prompt}" --model models:/{name}/{version}',
            "```",
            "```python",
            "import mlflow",
            f'model = mlflow.pyfunc.load_model("models:/{name}/{version}")',
            f'(png,) = model.predict(["{prompt}"])',
            'open("drawn.png", "wb").write(png)',
            "```",
            "",
            "## Made from",
            f"- {counted(len(photos['files']), 'photo')}, {held} of them held out of training (DVC "
            f"`{photos['dvc_md5']}`)",
            f"- base model `{base['model']}`{revision}, licence {base['license'] or 'of the base'}",
            f"- {train['method']}, {counted(train['steps'], 'step')} of {counted(recorded_batch(train), 'photo')}, "
            f"learning rate {train['learning_rate']}, {train['optimizer']}, {train['precision']}, seed {train['seed']}",
            f"- code at `{commit}`{state}",
            f"- content digest `{lineage['weights']['content_digest']}`",
            "",
            "## Figures",
            f"Suite {evaluation['suite']['name']} (`{evaluation['suite']['digest'][:16]}`), scorer "
            f"{evaluation['scorer']['model']} (`{evaluation['scorer']['digest'][:16]}`), encoder of likeness "
            f"{evaluation['identity_encoder']['model']} (`{evaluation['identity_encoder']['digest'][:16]}`), "
            "95 % intervals.",
            "",
            *figures,
            "",
            "## Gates",
            "| gate | verdict | value | interval | threshold |",
            "| --- | --- | --- | --- | --- |",
            *[gate_row(gate) for gate in evaluation["gates"]],
            "",
            "## Limits",
            "It learned one subject from few photos. The gates find the faults that they were made for, on the prompts "
            "of this suite; whether the pictures please is for a person to judge: look at the report.",
            "",
            "`lineage.json` in the run's artifacts holds the whole record.",
        ]
    )


def gate_row(gate: dict[str, Any]) -> str:
    """A gate as a row of a Markdown table: gate, verdict, value, interval, threshold."""
    if gate["value"] is None:
        return f"| {gate['gate']} | {gate['verdict']}: {gate['reason']} | | | |"
    limit = "off" if gate["threshold"] is None else f"{gate['direction']} {gate['threshold']:g}"
    return f"| {gate['gate']} | {gate['verdict']} | {gate['value']:.4f} | {interval_words(gate)} | {limit} |"
