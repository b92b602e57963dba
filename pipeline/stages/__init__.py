"""One file per stage of dvc.yaml: read files, call a package, write files."""

import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.environment import prepare_environment
from pipeline.errors import UserError, system_failure
from pipeline.layout import PARAMS
from pipeline.params import Params, load_params


def main(run: Callable[[Path, Params], None]) -> None:
    """Run one stage in the current folder; an error for the user is printed without a trace.

    Exit status 1, or 75 where the same may succeed later.
    """
    prepare_environment()
    try:
        run(Path(), load_params(PARAMS))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.status)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        known = system_failure(error)
        if known is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        sys.exit(known.status)
