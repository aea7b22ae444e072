"""Reading configurations: a named one or a YAML file, then ``key=value`` overrides; mistakes are named exactly."""

from __future__ import annotations

import difflib
import inspect
import os
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from gptface.configuration import Section
from gptface.errors import InputError

__all__ = ["configuration_to_yaml", "differing_keys", "load_configuration", "named_configurations"]


AnyConfiguration = TypeVar("AnyConfiguration", bound=Section)


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML in which a key given twice is an error, not a silent choice of the second."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, typing.Hashable) and key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} is given twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def named_configurations(kind: type[Section]) -> list[str]:
    """Names of the configurations of a system that are shipped with the package."""
    folder = _shipped(kind)
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def _shipped(kind: type[Section]) -> Path:
    """The folder ``configurations`` beside the module of a system's configuration class."""
    return Path(inspect.getfile(kind)).parent / "configurations"


def load_configuration(
    kind: type[AnyConfiguration], source: str | os.PathLike[str], overrides: Sequence[str] = ()
) -> AnyConfiguration:
    """Read ``source`` (a file, or a shipped configuration's name), then apply ``overrides`` (``pretrain.steps=200``).

    Args:
        kind: class of the system's configuration.

    Raises:
        InputError: no such file or name, not YAML, an unknown key (with the nearest known one), an impossible value.
    """
    name = os.fspath(source)
    values = _parse(*_read(kind, name))
    for override in overrides:
        _apply(values, override)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(_sentence(kind, error, name)) from None


def configuration_to_yaml(configuration: Section) -> str:
    """The whole configuration, defaults included, as YAML that reads back to an equal one."""
    return yaml.safe_dump(configuration.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def differing_keys(ours: Any, theirs: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """``(dotted key, our value, their value)`` of every leaf in which two nested dictionaries differ, in our order."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = []
        for key in [*ours, *(key for key in theirs if key not in ours)]:
            dotted = f"{prefix}.{key}" if prefix else str(key)
            found += differing_keys(ours.get(key), theirs.get(key), dotted)
        return found
    return [] if ours == theirs else [(prefix, ours, theirs)]


def _read(kind: type[Section], name: str) -> tuple[str, str]:
    path = Path(name)
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8"), name
        except UnicodeDecodeError as error:
            raise InputError(f"{name}: is not a text file in UTF-8 ({error.reason} at byte {error.start})") from None
    known = named_configurations(kind)
    if name in known:
        text = (_shipped(kind) / f"{name}.yaml").read_text(encoding="utf-8")
        return text, name
    raise InputError(f"{name}: is neither a file nor a shipped configuration; those are {', '.join(known)}")


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        values = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        problem = str(getattr(error, "problem", None) or error)
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise InputError(f"{name}: is not valid YAML: {problem}{where}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{name}: must hold sections such as 'data:' and 'pretrain:', got a {type(values).__name__}")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise InputError(f"override {override!r}: must look like section.key=value, for example pretrain.steps=200")
    try:
        value = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError:
        raise InputError(f"override {override!r}: the value is not valid YAML") from None
    place = values
    for part in parts[:-1]:
        inner = place.get(part)
        if inner is None:
            inner = place[part] = {}
        if not isinstance(inner, dict):
            raise InputError(f"override {override!r}: {part} is a value, not a section")
        place = inner
    place[parts[-1]] = value


def _sentence(kind: type[Section], error: ValidationError, source: str) -> str:
    """The first mistake as one sentence, and how many more there are."""
    details = error.errors()
    first = details[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        allowed = _fields_at(kind, location[:-1])
        near = difflib.get_close_matches(location[-1], allowed, n=1, cutoff=0.5)
        hint = f"; did you mean {'.'.join([*location[:-1], near[0]])}?" if near else ""
        sentence = f"unknown key {key}{hint} (known keys there: {', '.join(allowed)})"
    elif isinstance(first.get("ctx", {}).get("error"), InputError):
        sentence = f"{key}.{first['ctx']['error']}" if key else str(first["ctx"]["error"])
    else:
        allowed_values = "a section of keys and values" if first["type"] == "model_type" else first["msg"]
        sentence = f"{key}: must be {allowed_values.removeprefix('Input should be ')}, got {first['input']!r}"
    more = f" (and {len(details) - 1} more mistake{'s' if len(details) > 2 else ''})" if len(details) > 1 else ""
    return f"configuration {source}: {sentence}{more}"


def _fields_at(kind: type[Section], location: Sequence[str]) -> list[str]:
    """Field names of the section that ``location`` leads to."""
    section: type[BaseModel] = kind
    for part in location:
        annotation: Any = section.model_fields[part].annotation
        if typing.get_origin(annotation) in (typing.Union, types.UnionType):
            annotation = next(inner for inner in typing.get_args(annotation) if inner is not type(None))
        section = annotation
    return list(section.model_fields)
