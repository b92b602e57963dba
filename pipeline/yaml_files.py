"""YAML that people write: read whole or refused with the file and the line of what is wrong."""

from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UserError

MOST_DIGITS = 100  # of a whole number


class YamlError(UserError):
    """A file cannot be read as YAML; the message says where and why."""


def read_yaml(path: Path, name: str = "") -> Any:
    """The value that a file holds; None where it is empty.

    Args:
        name: what messages call the file; '': its path.

    Raises:
        FileNotFoundError: there is no such file.
        YamlError: it cannot be read, is not UTF-8, is not YAML, has a key twice, or a whole number of too many digits.
    """
    where = name or str(path)
    try:
        return parse_yaml(path.read_text(encoding="utf-8-sig"), where)
    except UnicodeDecodeError as error:
        raise YamlError(f"{where} is not UTF-8 text (byte {error.object[error.start]:#x}); save it as UTF-8") from None
    except FileNotFoundError:
        raise
    except OSError as error:
        raise YamlError(f"{where} cannot be read: {error.strerror or error}") from None


def parse_yaml(text: str, where: str) -> Any:
    """The value of a text; `where` names it in messages.

    Raises:
        YamlError: it is not YAML, has a key twice, or a whole number of too many digits.
    """
    try:
        return yaml.load(text, _Strict)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        hint = "; indent with spaces, not with tabs" if "'\\t'" in str(error.problem) else ""
        raise YamlError(f"{where}{line} is not valid YAML: {error.problem or error.context}{hint}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None


class _Strict(yaml.SafeLoader):
    """YAML in which no key stands twice: the last one would win without a word. Whole numbers are of at most
    `MOST_DIGITS`: Python writes none of thousands of digits out, so that no message could show it.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{name}' stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > MOST_DIGITS:
            problem = f"a whole number has {len(node.value)} digits; at most {MOST_DIGITS} are read"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return int(super().construct_yaml_int(node))


_Strict.add_constructor("tag:yaml.org,2002:int", _Strict.construct_yaml_int)
