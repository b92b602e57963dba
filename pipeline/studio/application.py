"""The studio as a web application: its pages, what protects them, and how they are drawn."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from pipeline.errors import UserError, grouped, in_units, system_failure
from pipeline.registry.store import explained
from pipeline.studio import (
    blind_page,
    clean_page,
    delete_page,
    mask_page,
    models_page,
    photos_page,
    pictures_page,
    runs_page,
    steps_page,
    verdict_page,
)
from pipeline.studio.pages import Pages
from pipeline.studio.protection import FormToken, Guard, Refusal
from pipeline.studio.workplace import Workplace

HERE = Path(__file__).resolve().parent
PAGES = (
    photos_page,
    mask_page,
    runs_page,
    pictures_page,
    steps_page,
    verdict_page,
    blind_page,
    clean_page,  # these two before the page of a model that would be called so
    delete_page,
    models_page,
)


def make_studio(workspace: Path, password: str | None) -> FastAPI:
    """The application for one workspace.

    Args:
        password: of the user `dreamtrace`; None: nobody is asked.
    """
    place = Workplace(workspace)
    environment = Environment(
        loader=PackageLoader("pipeline", "studio/templates"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"in_units": in_units, "grouped": grouped}
    pages = Pages(place, environment, FormToken())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            place.close()

    app = FastAPI(title="dreamtrace studio", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.place = place
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    for module in PAGES:
        app.include_router(module.router(pages))

    @app.get("/")
    def home() -> Response:
        return RedirectResponse("/photos", 303)

    @app.exception_handler(UserError)
    async def user_error(request: Request, error: Exception) -> Response:
        return _failed(pages, request, str(error), 400)

    @app.exception_handler(Refusal)
    async def refusal(request: Request, error: Exception) -> Response:
        return _failed(pages, request, str(error), 403)

    @app.exception_handler(404)
    async def nowhere(request: Request, error: Exception) -> Response:
        return _failed(pages, request, "there is no such page", 404)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _failed(pages, request, f"this cannot be answered: {error.detail}", error.status_code)

    @app.exception_handler(RequestValidationError)
    async def not_understood(request: Request, error: Exception) -> Response:
        return _failed(pages, request, "the address is not one of this page", 422)

    def failed(request: Request, error: Exception) -> tuple[Response, bool]:
        known = system_failure(error) or explained(error)
        if known is not None:
            return _failed(pages, request, str(known), 503), True
        return _failed(
            pages, request, "something is wrong inside of the studio; what it prints has the trace", 500
        ), False

    app.add_middleware(Guard, password=password, failed=failed)
    return app


def _failed(pages: Pages, request: Request, message: str, status: int) -> Response:
    """The page of an error; a form that was refused can be sent again with the browser's way back."""
    context: dict[str, Any] = {"message": message, "sent": request.method == "POST"}
    try:
        return HTMLResponse(pages.draw("error.html.j2", "", context), status)
    except OSError:  # the same may keep the page from being drawn
        return PlainTextResponse(message, status)
