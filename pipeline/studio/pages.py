"""Drawing a page, and reading a form."""

from contextlib import suppress
from pathlib import Path
from typing import Any
from unicodedata import category

from jinja2 import Environment
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pipeline.errors import UserError
from pipeline.layout import PARAMS
from pipeline.params import load_params
from pipeline.studio.protection import FormToken
from pipeline.studio.workplace import Workplace

TABS = {"photos": "Photos", "runs": "Runs", "pictures": "Pictures", "verdict": "Verdict", "models": "Models"}
MOST_FILES, MOST_FIELDS = 500, 20_000  # of one form; a photo has five fields
LONGEST = 1 << 20  # bytes of a field that is no file
MOST_CHARACTERS = 20_000  # of a field; in UTF-8 they are fewer bytes than an argument of a command may have
UNWRITABLE = ("Cc", "Cs")  # of Unicode: control characters, and halves of letters


class FormError(UserError):
    """A field of a form is empty or impossible."""


class Pages:
    """The templates, with what every page shows."""

    def __init__(self, place: Workplace, environment: Environment, token: FormToken):
        self.place, self.environment, self.token = place, environment, token

    def draw(self, template: str, tab: str, context: dict[str, Any], said: str = "") -> str:
        """The HTML of a page; `said` is the key of a text that it has to show."""
        shared = {
            "tabs": TABS,
            "tab": tab,
            "subject": self._subject(),
            "workspace": at_home(self.place.path),
            "csrf": self.token.value,
            "said": self.place.said(said),
            "refresh": None,
        }
        return self.environment.get_template(template).render({**shared, **context})

    def page(self, request: Request, tab: str, **context: Any) -> HTMLResponse:
        """The page of a tab."""
        return HTMLResponse(self.draw(f"{tab}.html.j2", tab, context, request.query_params.get("said", "")))

    def go(self, where: str, text: str, bad: bool = False) -> Response:
        """On to a page that shows a text."""
        key = self.place.say(text, bad)
        return RedirectResponse(f"{where}{'&' if '?' in where else '?'}said={key}", 303)

    async def form(self, request: Request) -> FormData:
        """The fields of a form of this studio.

        Raises:
            Refusal: it is the form of somebody else.
        """
        form = await request.form(max_files=MOST_FILES, max_fields=MOST_FIELDS, max_part_size=LONGEST)
        self.token.check(request, form.get("csrf"))
        return form

    def _subject(self) -> str:
        try:
            params = load_params(self.place.path / PARAMS)
        except UserError:
            return ""
        return f"{params.subject.token} {params.subject.class_noun}"


def at_home(folder: Path) -> str:
    """A folder's path for a person: '~/dreamtrace' where it lies in the home of this user."""
    with suppress(RuntimeError):  # a user without a home
        if folder.is_relative_to(home := Path.home().resolve()) and folder != home:
            return f"~/{folder.relative_to(home).as_posix()}"
    return str(folder)


def text(form: FormData, name: str, needed: str = "") -> str:
    """A field without spaces around it.

    Raises:
        FormError: it is too long, holds control characters, or is empty; `needed` says what it is.
    """
    value = form.get(name)
    found = value.strip() if isinstance(value, str) else ""
    if needed and not found:
        raise FormError(f"give {needed}")
    return _checked(found, name)


def texts(form: FormData, name: str) -> list[str]:
    """All fields of one name, as they are.

    Raises:
        FormError: one is too long, or holds control characters.
    """
    return [_checked(value, name) for value in form.getlist(name) if isinstance(value, str)]


def _checked(value: str, name: str) -> str:
    """A text that can be a file's name and an argument of a command: a NUL, or 128 KiB, can be neither."""
    if len(value) > MOST_CHARACTERS:
        raise FormError(f"the field '{name}' has {len(value)} characters; at most {MOST_CHARACTERS} are possible")
    for letter in value:
        if category(letter) in UNWRITABLE and letter not in "\t\r\n":
            raise FormError(f"the field '{name}' holds the control character U+{ord(letter):04X}; remove it")
    return value


def files(form: FormData, name: str) -> list[UploadFile]:
    """The files that somebody chose."""
    return [value for value in form.getlist(name) if isinstance(value, UploadFile) and value.filename]
