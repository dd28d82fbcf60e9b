"""What a tool declares its arguments to be (JSON Schema, draft 2020-12), and whether arguments are that.

Differences from plain JSON Schema, each on the strict side:
- where a schema declares properties, further ones are refused unless it says otherwise, through `allOf`,
  `$ref` and their kin as well: what no reviewer expects must not travel along;
- `pattern` runs in RE2 (linear time, searched anywhere in the text as the standard says), so look-around and
  back-references are refused when the schema is saved;
- `$ref` stays inside the schema: validation must never make a network request.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import re2
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from policies.values import ArgumentsRefused, canonical, normalise, pointer

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_ONE = (
    "additionalProperties",
    "items",
    "contains",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_MANY = ("properties", "patternProperties")
_NAMED = (*_MANY, "$defs", "definitions", "dependentSchemas")
_DATA = ("enum", "const", "default", "examples")
_IN_PLACE_ONE = ("if", "then", "else", "not")
_IN_PLACE_LIST = ("allOf", "anyOf", "oneOf")
_MAX_SCHEMA_DEPTH = 64
_RULES = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "enum": "must be one of {}",
    "const": "must be {}",
}


def check(args: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in normal form, if they are an object that `schema` accepts.

    Raises ArgumentsRefused naming the first value at fault, or saying that the schema itself is unusable.
    """
    normal = normalise(args)
    if not isinstance(normal, dict):
        raise ArgumentsRefused("", "must be an object")
    try:
        problem = next(_validator(canonical(schema)).iter_errors(normal), None)
    except (RecursionError, Unresolvable, re2.error) as error:
        raise ArgumentsRefused("", f"the tool's schema cannot be applied: {type(error).__name__}") from None
    if problem is not None:
        raise ArgumentsRefused(pointer(list(problem.absolute_path)), _why(problem))
    return normal


def check_schema(schema: Any) -> None:
    """Raise ArgumentsRefused (the path points into the schema) unless `schema` can judge arguments."""
    normal = normalise(schema, max_depth=_MAX_SCHEMA_DEPTH)
    if not isinstance(normal, dict):
        raise ArgumentsRefused("", "a schema must be an object")
    if str(normal.get("$schema", DIALECT)).rstrip("#") != DIALECT:
        raise ArgumentsRefused("/$schema", f"only {DIALECT} is understood")
    if normal.get("type", "object") != "object":
        raise ArgumentsRefused("/type", "arguments are an object")
    try:
        Draft202012Validator.check_schema(normal, format_checker=FormatChecker(formats=()))
    except SchemaError as error:
        raise ArgumentsRefused(pointer(list(error.absolute_path)), _clip(error.message)) from None
    for path, node in _nodes(normal, ()):
        _check_node(path, node)
    try:
        next(_validator(canonical(normal)).iter_errors({}), None)
    except (RecursionError, Unresolvable) as error:
        raise ArgumentsRefused("", f"a $ref leads nowhere or round in circles: {_clip(str(error))}") from None


def _nodes(node: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Every schema inside a schema. What stands under a name map is the tool's own word, not a keyword."""
    if isinstance(node, list):
        for index, inner in enumerate(node):
            yield from _nodes(inner, (*path, index))
    if not isinstance(node, dict):
        return
    yield path, node
    for key, inner in node.items():
        if key in _NAMED and isinstance(inner, dict):
            for name, schema in inner.items():
                yield from _nodes(schema, (*path, key, name))
        elif key not in _DATA:
            yield from _nodes(inner, (*path, key))


def _check_node(path: tuple[str | int, ...], node: dict[str, Any]) -> None:
    for word in ("$ref", "$dynamicRef"):
        if isinstance(node.get(word), str) and not node[word].startswith("#"):
            raise ArgumentsRefused(pointer((*path, word)), "a reference must stay inside the schema (#…)")
    if path and "$id" in node:
        raise ArgumentsRefused(pointer((*path, "$id")), "a nested $id would redirect references")
    if "pattern" in node:
        _compile(node["pattern"], (*path, "pattern"))
    for pattern in node.get("patternProperties", ()):
        _compile(pattern, (*path, "patternProperties", pattern))
        if "unevaluatedProperties" in node or _branches(node):
            # The library would match these in Python's engine, which is not linear.
            raise ArgumentsRefused(
                pointer(path), "patternProperties cannot stand beside branches of the schema"
            )


def _compile(pattern: str, path: tuple[str | int, ...]) -> None:
    try:
        _regex(pattern)
    except re2.error as error:
        raise ArgumentsRefused(pointer(path), f"not an RE2 pattern: {_clip(str(error))}") from None


@lru_cache(maxsize=1024)
def _regex(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


@lru_cache(maxsize=512)
def _validator(encoded: bytes) -> Validator:
    schema = json.loads(encoded)
    schema.pop("$id", None)
    validator: Validator = _STRICT(_closed(schema), registry=Registry())
    return validator


def _closed(schema: Any) -> Any:
    """The schema of one place in the arguments, shut against properties that nobody declared."""
    if not isinstance(schema, dict):
        return schema
    shut = _descend(schema)
    if "additionalProperties" in schema or "unevaluatedProperties" in schema:
        return shut
    if _branches(schema):
        if _declares(schema):
            shut["unevaluatedProperties"] = False
    elif "properties" in schema:
        shut["additionalProperties"] = False
    return shut


def _descend(schema: dict[str, Any]) -> dict[str, Any]:
    """Shut every inner place; branches that judge the same place stay open, their parent shuts it."""
    shut = dict(schema)
    for word in _ONE:
        if word in shut:
            shut[word] = _closed(shut[word])
    for word in _MANY:
        if word in shut:
            shut[word] = {name: _closed(inner) for name, inner in shut[word].items()}
    if "prefixItems" in shut:
        shut["prefixItems"] = [_closed(inner) for inner in shut["prefixItems"]]
    for word in _IN_PLACE_ONE:
        if isinstance(shut.get(word), dict):
            shut[word] = _descend(shut[word])
    for word in _IN_PLACE_LIST:
        if word in shut:
            shut[word] = [_descend(inner) if isinstance(inner, dict) else inner for inner in shut[word]]
    for word in ("$defs", "definitions", "dependentSchemas"):
        if word in shut:
            named = shut[word].items()
            shut[word] = {key: _descend(inner) if isinstance(inner, dict) else inner for key, inner in named}
    return shut


def _branches(schema: dict[str, Any]) -> bool:
    words = (*_IN_PLACE_ONE, *_IN_PLACE_LIST, "$ref", "$dynamicRef", "dependentSchemas")
    return any(word in schema for word in words)


def _declares(schema: Any) -> bool:
    """Whether the place, in itself or in a branch, names properties. A `$ref` may: count it."""
    if not isinstance(schema, dict):
        return False
    if any(word in schema for word in ("properties", "$ref", "$dynamicRef")):
        return True
    branches = [schema.get(word) for word in _IN_PLACE_ONE if word != "not"]
    branches += [inner for word in _IN_PLACE_LIST for inner in schema.get(word, ())]
    branches += schema.get("dependentSchemas", {}).values()
    return any(_declares(inner) for inner in branches)


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not _regex(pattern).search(value):
        yield ValidationError(f"does not match {pattern}")


def _pattern_properties(validator: Any, patterns: Any, value: Any, _: Any) -> Iterator[ValidationError]:
    if not isinstance(value, dict):
        return
    for pattern, inner in patterns.items():
        for key, item in value.items():
            if _regex(pattern).search(key):
                yield from validator.descend(item, inner, path=key, schema_path=pattern)


def _additional_properties(validator: Any, extra: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(value, dict):
        return
    patterns = [_regex(pattern) for pattern in schema.get("patternProperties", ())]
    declared = schema.get("properties", {})
    for key in value:
        if key in declared or any(pattern.search(key) for pattern in patterns):
            continue
        if extra is False:
            yield ValidationError("is not declared by the tool", path=[key])
        else:
            yield from validator.descend(value[key], extra, path=key)


def _unique_items(_: Any, wanted: bool, value: Any, __: Any) -> Iterator[ValidationError]:
    # The library compares each pair where items cannot be sorted; their canonical bytes compare in one pass.
    if wanted and isinstance(value, list) and len({canonical(item) for item in value}) != len(value):
        yield ValidationError("holds the same item twice")


def _why(problem: ValidationError) -> str:
    if problem.validator in ("pattern", "additionalProperties", "uniqueItems"):
        return _clip(problem.message)
    if problem.validator == "type":
        return f"must be of type {json.dumps(problem.validator_value)}"
    if problem.validator == "required":
        return _clip(problem.message)
    # The library's message repeats the value, which may be a megabyte; the rule it broke says more.
    rule = _clip(json.dumps(problem.validator_value, ensure_ascii=False))
    return _RULES.get(str(problem.validator), f"breaks {problem.validator}: {{}}").format(rule)


def _clip(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "…"


_STRICT = extend(
    Draft202012Validator,
    {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    },
)
