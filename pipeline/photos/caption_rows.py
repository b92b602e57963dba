"""Rows of metadata files, as this and other tools write them: JSON lines, CSV, and kohya's JSON."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pipeline.errors import counted
from pipeline.photos.file_kinds import METADATA, NameIndex, printable
from pipeline.photos.text import TextProblem, decode_text

NAME_KEYS = ("file_name", "filename", "file", "image", "image_path", "path")
TEXT_KEYS = ("text", "caption", "prompt", "tags", "description")


@dataclass(frozen=True)
class Row:
    """What one place says of one photo; `where` names file and line for a message.

    `text` is None where the caption is there but damaged, which has been named; `stem` says that `name` may lack its
    ending; `by` is who wrote the caption, where the row says so.
    """

    where: str
    name: str
    text: str | None
    scene: str | None = None
    stem: bool = False
    by: str | None = None


def read_rows(name: str, content: bytes, problems: list[str]) -> Iterator[Row]:
    """The rows of one metadata file; every row that cannot be used is added to `problems` as a sentence."""
    try:
        text = decode_text(content)
    except TextProblem as problem:
        problems.append(f"{name}{f', line {problem.line}' if problem.line else ''}: {problem}")
        return
    if name.lower().endswith(".csv"):
        yield from _from_csv(name, text, problems)
    elif name.lower() == METADATA or text.lstrip().startswith("["):
        yield from _from_lines(name, text, problems)
    else:
        yield from _from_kohya(name, text, problems)


def written_rows(content: bytes) -> list[tuple[str, dict[str, Any] | None]]:
    """The rows of a metadata.jsonl for who changes some of them: each as a line, and its object.

    The object is None where the line holds none that can be read; such a line is as it was written. Of a list, or of
    objects that take several lines, each entry becomes a line.

    Raises:
        TextProblem: an encoding that is not read, or a list that is not JSON.
    """
    text = decode_text(content)
    if text.lstrip().startswith("["):
        try:
            values = _parse(text)
        except (ValueError, RecursionError) as error:
            raise TextProblem(f"is not JSON ({_reason(error)})") from None
        return [_written(value) for value in values]
    if (objects := _spread_objects(text)) is not None:
        return [_written(value) for value in objects]
    found: list[tuple[str, dict[str, Any] | None]] = []
    for line in filter(str.strip, text.split("\n")):
        try:
            value = _parse(line)
        except (ValueError, RecursionError):
            value = None
        found.append((line, value if isinstance(value, dict) else None))
    return found


def row_line(row: Any) -> str:
    """A row as a line of a metadata.jsonl, without a line end."""
    line = json.dumps(row, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # half a letter, which JSON holds as an escape alone
        line = json.dumps(row)
    return line


def row_name(row: dict[str, Any]) -> str | None:
    """The name of the photo that a row is for; None where it names none, or several."""
    names = {row[key] for key in NAME_KEYS if isinstance(row.get(key), str)}
    name = row["file_name"] if isinstance(row.get("file_name"), str) else names.pop() if len(names) == 1 else None
    return name.removeprefix("./") if name is not None else None


def row_owner(row: dict[str, Any], names: NameIndex) -> str | None:
    """The photo that a row is for, in whichever case it is written; None where that is none, or may be several."""
    photos = names.find(row_name(row) or "")
    return photos[0] if len(photos) == 1 else None


def with_text(row: dict[str, Any], text: str) -> dict[str, Any]:
    """A row with another caption, under the keys that have it."""
    keys = ["text"] if row.get("text") is not None else [key for key in TEXT_KEYS if row.get(key) is not None]
    return {**row, **dict.fromkeys(keys or ["text"], text)}


def _written(value: Any) -> tuple[str, dict[str, Any] | None]:
    return row_line(value), value if isinstance(value, dict) else None


def _from_lines(name: str, text: str, problems: list[str]) -> Iterator[Row]:
    if text.lstrip().startswith("["):  # the whole file is one list
        try:
            values = _parse(text)
        except (ValueError, RecursionError) as error:
            problems.append(f"{name}: is not JSON ({_reason(error)})")
            return
        for number, value in enumerate(values, 1):
            yield from _row(f"{name}, entry {number}", value, problems)
        return
    if (objects := _spread_objects(text)) is not None:
        for number, value in enumerate(objects, 1):
            yield from _row(f"{name}, entry {number}", value, problems)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            value = _parse(line)
        except (ValueError, RecursionError) as error:
            problems.append(f"{where}: is not JSON ({_reason(error)}); write one object in each line")
            continue
        yield from _row(where, value, problems)


def _parse(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, or an object names a key twice, of which only one would count.
    """
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = sorted(key for key in made if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f"it has {', '.join(map(printable, twice))} twice")
    return made


def _spread_objects(text: str) -> list[Any] | None:
    """The objects of a text in which each may take several lines; None where its lines are to be read one by one."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    first = text.lstrip().partition("\n")[0].rstrip()
    if not first.startswith("{") or first.endswith("}"):
        return None
    found, place = [], 0
    try:
        while rest := text[place:].lstrip():
            value, end = decoder.raw_decode(rest)
            found.append(value)
            place = len(text) - len(rest) + end
    except (ValueError, RecursionError):
        return None
    return found


def _reason(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _row(where: str, value: Any, problems: list[str]) -> Iterator[Row]:
    needs = f'{where}: needs "file_name" and "text" as strings (and "scene" as one, if at all)'
    if not isinstance(value, dict):
        problems.append(needs)
        return
    names = {key: value[key] for key in NAME_KEYS if value.get(key) is not None}
    texts = {key: _joined(value[key]) for key in TEXT_KEYS if value.get(key) is not None}
    if not texts and (set(value) & set(TEXT_KEYS) or set(value) <= {*NAME_KEYS, "scene", "by"}):
        texts = {"text": ""}  # null, or left out; a key that nobody knows may be a caption's, misspelled
    scene, by = value.get("scene"), value.get("by")
    if "file_name" in names:
        names = {"file_name": names["file_name"]}
    if "text" in texts:
        texts = {"text": texts["text"]}
    strings = isinstance(scene, str | None) and all(isinstance(one, str) for one in (*names.values(), *texts.values()))
    if not (strings and names and texts):
        problems.append(needs)
    elif len(set(names.values())) > 1 or len(set(texts.values())) > 1:
        keys = ", ".join(names if len(set(names.values())) > 1 else texts)
        wanted = "file_name" if len(set(names.values())) > 1 else "text"
        problems.append(f'{where}: {keys} differ; call the one that is meant "{wanted}"')
    else:
        file = next(iter(names.values()))
        if problem := _path_problem(file):
            problems.append(f"{where}: {problem}")
        else:
            author = by if isinstance(by, str) else None
            yield Row(where, file.removeprefix("./"), next(iter(texts.values())), scene, by=author)


def _joined(value: Any) -> Any:
    """Tags in a list are one caption with commas; anything else stays what it is."""
    if isinstance(value, list) and value and all(isinstance(tag, str) for tag in value):
        return ", ".join(value)
    return value


def _path_problem(file: str) -> str | None:
    plain = file.removeprefix("./")
    if PurePosixPath(plain).name != plain or "\\" in plain or plain in ("", ".", ".."):
        return f"file_name '{printable(file)}' must be the name of a file in the same folder"
    return None


def _from_csv(name: str, text: str, problems: list[str]) -> Iterator[Row]:
    first, _, rest = text.partition("\n")
    offset = 0
    delimiter = None
    if first.lower().startswith("sep=") and len(first) == 5:  # Excel's own first line
        delimiter, text, offset = first[4], rest, 1
        first = rest.partition("\n")[0]
    delimiter = delimiter or max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    try:
        for fields in reader:
            where = f"{name}, line {reader.line_num + offset}"
            if not any(entry.strip() for entry in fields):
                continue
            if header is None:
                header = [entry.strip().lower() for entry in fields]
                if twice := sorted({key for key in header if key and header.count(key) > 1}):
                    problems.append(f"{where}: names the column {', '.join(twice)} twice; keep one of them")
                    return
                if not set(header) & set(NAME_KEYS) or not set(header) & set(TEXT_KEYS):
                    problems.append(f"{where}: must name the columns: file_name, text, and scene if there are any")
                    return
            elif len(fields) != len(header):
                problems.append(
                    f"{where}: has {counted(len(fields), 'field')}, the first line names {len(header)}; "
                    f"put a text that holds '{delimiter}' between double quotes"
                )
            else:
                value = {key: entry.strip() for key, entry in zip(header, fields, strict=True) if entry.strip()}
                empty = {} if set(value) & set(TEXT_KEYS) else {"text": ""}
                yield from _row(where, {**value, **empty}, problems)
    except csv.Error as error:
        problems.append(f"{name}, line {reader.line_num + offset}: is not CSV ({error})")


def _from_kohya(name: str, text: str, problems: list[str]) -> Iterator[Row]:
    """{"path or name, often without its ending": {"caption": ..., "tags": ...}}"""
    try:
        value = _parse(text)
    except (ValueError, RecursionError) as error:
        problems.append(f"{name}: is not JSON ({_reason(error)})")
        return
    if not isinstance(value, dict) or not all(isinstance(entry, dict) for entry in value.values()):
        problems.append(f'{name}: must map the name of each photo to {{"caption": "..."}}; or write {METADATA} instead')
        return
    for path, entry in value.items():
        where = f"{name}, '{printable(path)}'"
        file = PurePosixPath(path.replace("\\", "/")).name
        for row in _row(where, {**entry, "file_name": file}, problems):
            yield Row(where, row.name, row.text, row.scene, stem=True)
