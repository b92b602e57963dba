"""A search for a recipe in MLflow: a child run of the training's run for each recipe that was tried."""

from typing import TYPE_CHECKING, Any

from pipeline.files import digest_value

if TYPE_CHECKING:
    from mlflow import MlflowClient

SEARCH, RECIPE = "recipe_search", "recipe_digest"  # tags of a child run: digests of the search and of its recipe
FIGURES = ("merit", "likeness", "fidelity", "success")


def log_search(client: "MlflowClient", run_id: str, search: dict[str, Any], digest: str) -> int:
    """Make the child runs of a search that are not there yet; returns how many were made.

    Args:
        run_id: the run that trained the model.
        search: what the stage `tune` recorded. Each recipe has the figures of the rounds that it took part in.
        digest: sha256 of the file with it, as in the history of the version's recipe.
    """
    if not search.get("rounds"):
        return 0
    experiment = client.get_run(run_id).info.experiment_id
    known = {
        run.data.tags[RECIPE]
        for one in (digest, digest_value(search))  # the second one is that of earlier versions
        for run in client.search_runs([experiment], f"tags.{SEARCH} = '{one}'", max_results=1000)
    }
    words = {proposal["digest"]: proposal for proposal in search["proposals"]}
    trials: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for found in search["rounds"]:
        for trial in found["trials"]:
            trials.setdefault(trial["digest"], []).append((found["round"], trial))
    fresh = [recipe for recipe in trials if recipe not in known]
    for recipe in fresh:
        _log_trial(client, experiment, run_id, digest, words.get(recipe), trials[recipe])
    return len(fresh)


def _log_trial(
    client: "MlflowClient",
    experiment: str,
    run_id: str,
    digest: str,
    proposal: dict[str, Any] | None,
    trials: list[tuple[int, dict[str, Any]]],
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    last = trials[-1][1]
    tags = {
        "mlflow.parentRunId": run_id,
        RECIPE: last["digest"],
        "proposed_by": proposal["by"] if proposal else "default",
        "gates_failed": ", ".join(last["failed"]),
    }
    run = client.create_run(experiment, run_name=proposal["words"][:200] if proposal else "default recipe", tags=tags)
    made = run.info.start_time
    metrics = [
        Metric(f"recipe/{name}", float(trial[name]), made, number)
        for number, trial in trials
        for name in FIGURES
        if trial[name] is not None
    ]
    params = [Param(key, str(value)[:6000]) for key, value in last["recipe"].items()]
    # The tag by which a run counts as made comes last: a run that was cut off before it is made again.
    client.log_batch(run.info.run_id, metrics=metrics, params=params)
    client.log_batch(run.info.run_id, tags=[RunTag(SEARCH, digest)])
    client.set_terminated(run.info.run_id, "FINISHED")
