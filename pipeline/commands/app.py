"""The command `dreamtrace`: every verb, in the order and the groups of its help."""

import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer

from pipeline import __version__
from pipeline.commands import (
    calibrate,
    check,
    clean,
    compare,
    delete,
    estimate,
    export,
    generate,
    new,
    overview,
    params,
    profile,
    promote,
    propose,
    publish,
    push_to_hub,
    recipe,
    reproduce,
    run,
    serve,
    studio,
    token,
    trace,
    withdraw,
)
from pipeline.commands.patience import patience
from pipeline.environment import prepare_environment
from pipeline.errors import UserError, no_space, system_failure

Verbs = dict[str, Callable[..., Any]]

FIRST: Verbs = {"new": new.new, "check": check.check, "run": run.run, "studio": studio.studio, "up": serve.up}
STATE: Verbs = {"status": overview.status, "list": overview.list_models, "clean": clean.clean, "delete": delete.delete}
BEFORE: Verbs = {"demo": run.demo, "token": token.token, "estimate": estimate.estimate}
AFTER: Verbs = {
    "generate": generate.generate,
    "trace": trace.trace,
    "compare": compare.compare,
    "reproduce": reproduce.reproduce,
    "export": export.export,
    "calibrate": calibrate.calibrate,
    "push-to-hub": push_to_hub.push_to_hub,
}
CHAMPION: Verbs = {
    "promote": promote.promote,
    "rollback": promote.rollback,
    "reject": promote.reject,
    "publish": publish.publish,
    "fetch": publish.fetch,
}
PHOTOS: Verbs = {"impact": withdraw.impact, "withdraw": withdraw.withdraw}
GROUPS: dict[str, Verbs] = {
    "The five to begin with": FIRST,
    "What is here": STATE,
    "Before a training": BEFORE,
    "After a training": AFTER,
    "The champion": CHAMPION,
    "A photo must go": PHOTOS,
}
SERVERS = "Servers and settings"


def version() -> None:
    """Print the version of dreamtrace."""
    print(__version__)


def _sub_app(purpose: str, verbs: Verbs) -> typer.Typer:
    found = typer.Typer(help=purpose, no_args_is_help=True)
    for name, verb in verbs.items():
        found.command(name)(verb)
    return found


def _build() -> typer.Typer:
    built = typer.Typer(
        help="Fine-tune Stable Diffusion on a few photos, and trace every checkpoint back to them.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    for panel, verbs in GROUPS.items():
        for name, verb in verbs.items():
            built.command(name, rich_help_panel=panel)(verb)
    built.command("deploy", rich_help_panel=SERVERS)(serve.deploy)
    built.command("version", rich_help_panel=SERVERS)(version)
    sub_apps: dict[str, tuple[str, Verbs]] = {
        "params": ("Check the parameters of this workspace.", {"check": params.check}),
        "profile": ("Presets of params.yaml.", {"list": profile.show_all, "show": profile.show, "use": profile.use}),
        "propose": (
            "Captions and masks written by programs, for you to approve.",
            {"captions": propose.captions, "masks": propose.masks, "accept": propose.accept},
        ),
        "recipe": (
            "How a model is drawn with, beside its weights.",
            {"show": recipe.show, "check": recipe.check, "use": recipe.use, "back": recipe.back},
        ),
        "runs": ("Isolated runs, and what is left of them.", {"clean": run.clean}),
        "ui": ("The pages of MLflow or Prefect on this machine.", {"mlflow": serve.mlflow, "prefect": serve.prefect}),
    }
    for name, (purpose, verbs) in sub_apps.items():
        built.add_typer(_sub_app(purpose, verbs), name=name, rich_help_panel=SERVERS)
    return built


app = _build()


def main() -> None:
    """Entry point: an error meant for people is printed without a stack trace, with its own exit status."""
    prepare_environment()
    try:
        with patience(sys.argv[1:]):
            app()
    except UserError as error:
        _stop(error)
    except Exception as error:
        known = system_failure(error)
        if known is None:
            # MLflow's own errors can come out of any of its calls; everything else is a defect and keeps its trace.
            from pipeline.registry.store import explained

            known = explained(error)
        if known is None:
            raise
        _stop(known)


TELLS_OF_SPACE = re.compile("no space|No space|are free")


def _stop(error: UserError) -> NoReturn:
    full = no_space()  # what fails for want of space seldom says so: git, Prefect's server, a library
    besides = f"; besides, {full}" if full is not None and not TELLS_OF_SPACE.search(str(error)) else ""
    print(f"error: {error}{besides}", file=sys.stderr)
    sys.exit(error.status)


if __name__ == "__main__":
    main()
