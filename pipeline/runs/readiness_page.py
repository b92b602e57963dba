"""What `dreamtrace check` found, as one page with its pictures inside, which needs no network."""

import base64

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.errors import grouped
from pipeline.runs.readiness import Readiness


def page_of(found: Readiness) -> str:
    """The page as HTML."""
    environment = Environment(loader=PackageLoader("pipeline", "runs"), autoescape=True, undefined=StrictUndefined)
    environment.filters["b64"] = lambda content: base64.b64encode(content).decode()
    environment.filters["grouped"] = grouped
    return environment.get_template("check.html.j2").render(found=found)
