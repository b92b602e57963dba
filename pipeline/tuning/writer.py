"""A language model that proposes wordings, asked once before a search, over the API that local servers of models speak.

Ollama, llama.cpp's server, vLLM and others answer `POST ADDRESS/chat/completions` as OpenAI's does.
"""

import http.client
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.errors import NotNow, UserError
from pipeline.files import digest_value, read_json, write_json
from pipeline.params import Writer
from pipeline.sampling.recipe import Recipe

KEY = "DREAMTRACE_WRITER_KEY"  # environment variable: the key of a server that wants one
ANSWER_S = 300.0  # a language model on a CPU takes its time
LONGEST = 300  # characters of a wording
ASKED = (
    "You write templates of prompts for Stable Diffusion. {{prompt}} stands for a prompt such as 'a photo of a {noun} "
    "on the beach', and must stand in each template exactly once. A template adds a few words around it that make the "
    "{noun}, and everything else that the prompt asks for, clearer. It must not add things, places, styles or names. "
    "Write {count} different templates. Answer with a JSON list of strings and nothing else."
)


class WriterError(UserError):
    """The language model cannot be asked, or answers with nothing that can be used."""


class WriterSilent(WriterError, NotNow):
    """The server of the language model does not answer."""


@dataclass(frozen=True)
class Wordings:
    """What a language model proposed: templates that can be tried, what was refused and why, and its whole answer."""

    templates: list[str]
    refused: list[dict[str, str]]
    answer: str


def wordings_of(writer: Writer, noun: str, kept: Path) -> Wordings:
    """The wordings that the language model proposes for the class noun `noun`.

    Its answer is kept in the file `kept`, and read from there where it answers the same question, because a language
    model answers in other words each time: a killed search goes on with the wordings that it began with.

    Raises:
        WriterSilent: the server does not answer.
        WriterError: it refuses, or none of what it proposes can be used.
    """
    known = read_json(kept) if kept.is_file() else {}
    if known.get("question") != _digest(writer, noun):
        known = keep_answer(writer, noun, _ask(writer, _question(writer, noun)), kept)
    found = read_wordings(known["answer"], writer.wordings)
    if not found.templates:
        kept.unlink()
        shown = " ".join(known["answer"].split())[:200]
        raise WriterError(f"tune.writer: {writer.model} proposes no wording that can be used; it answered: {shown}")
    return found


def keep_answer(writer: Writer, noun: str, answer: str, kept: Path) -> dict[str, str]:
    """Keep what the language model answered in a file, where `wordings_of` finds it and asks no more."""
    known = {"question": _digest(writer, noun), "answer": answer}
    write_json(kept, known)
    return known


def _question(writer: Writer, noun: str) -> str:
    return ASKED.format(noun=noun, count=writer.wordings)


def _digest(writer: Writer, noun: str) -> str:
    return digest_value([writer.model_dump(mode="json"), _question(writer, noun)])


def read_wordings(answer: str, count: int) -> Wordings:
    """The first `count` different templates of an answer: a JSON list of strings, whatever stands around it."""
    templates, refused = list[str](), list[dict[str, str]]()
    for text in _listed(answer):
        template = " ".join(text.split())
        if template in ("{prompt}", *templates):
            refused.append({"template": template, "why": "it is there already"})
        elif len(template) > LONGEST:
            refused.append({"template": template[:LONGEST], "why": f"longer than {LONGEST} characters"})
        elif len(templates) == count:
            refused.append({"template": template, "why": f"more than {count}"})
        elif why := _fault(template):
            refused.append({"template": template, "why": why})
        else:
            templates.append(template)
    return Wordings(templates, refused, answer)


def _listed(answer: str) -> Sequence[str]:
    for start in (match.start() for match in re.finditer(r"\[", answer)):
        try:
            found, _ = json.JSONDecoder().raw_decode(answer, start)
        except ValueError:
            continue
        if isinstance(found, list) and found and all(isinstance(text, str) for text in found):
            return found
    return ()


def _fault(template: str) -> str | None:
    try:
        Recipe(template=template)
    except ValidationError as error:
        return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
    return None


def _ask(writer: Writer, question: str) -> str:
    address = f"{writer.address.rstrip('/')}/chat/completions"
    asked = {"model": writer.model, "messages": [{"role": "user", "content": question}], "stream": False}
    where = f"tune.writer: {writer.model} at {writer.address}"
    try:
        request = urllib.request.Request(address, json.dumps(asked).encode(), {"Content-Type": "application/json"})
        if key := os.environ.get(KEY):
            request.add_unredirected_header("Authorization", f"Bearer {key}")  # for this address alone
        with urllib.request.urlopen(request, timeout=ANSWER_S) as response:
            found: Any = json.loads(response.read())
        return str(found["choices"][0]["message"]["content"])
    except urllib.error.HTTPError as error:
        said = error.read(300).decode(errors="replace").strip()
        kind = WriterSilent if error.code >= 500 else WriterError
        raise kind(f"{where} refuses with status {error.code}{f': {said}' if said else ''}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise WriterSilent(
            f"{where} does not answer ({reason}); start the server, or leave tune.writer out: then a grammar alone "
            "proposes wordings"
        ) from None
    except (ValueError, KeyError, IndexError, TypeError):
        raise WriterError(
            f"{where} does not answer as OpenAI's chat completions do; give the address that /chat/completions "
            "follows, such as http://127.0.0.1:11434/v1"
        ) from None
