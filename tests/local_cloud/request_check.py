"""Checks a function's request against AWS's own model of the call.

botocore contains the service models. Its validator, which a boto3 client runs before it sends
anything, checks required and unknown members, types and smallest sizes. This module adds the rules
that only the service enforces: enums, patterns and largest sizes. The models' enums are open, so
that an SDK accepts values that AWS adds later. A request with a value that is not listed is a
mistake, or needs a newer botocore.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import regex
from botocore.loaders import Loader
from botocore.model import OperationModel, OperationNotFoundError, ServiceModel
from botocore.validate import ParamValidator, ValidationErrors

from .wire import read_json, read_query

SDK = "aws-sdk-rust/"
"""Part of the user agent of every function's request, and of no test's own client."""
MODELS = {"states": "stepfunctions"}
"""botocore's name of a service, by the different name in its requests' signatures."""
CODES = {"ec2": "InvalidParameterValue", "sts": "ValidationError"}
"""The error code of a bad parameter; it is `ValidationException` for the other services."""
_RULE = "rule"
_LONGEST_LINE = 400
_BITS = {"integer": 31, "long": 63}


@functools.cache
def service_model(service: str) -> ServiceModel:
    """The model of a service, by the service name in its requests' signatures."""
    name = MODELS.get(service, service)
    # Ignores a user's own models in ~/.aws/models.
    loader = Loader([Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    return ServiceModel(loader.load_service_model(name, "service-2"), name)


def is_of_function(user_agent: str) -> bool:
    """Whether a function sends the request, not a test."""
    return SDK in user_agent


def refusal_code(service: str) -> str:
    """The code with which the service refuses a bad parameter."""
    return CODES.get(service, "ValidationException")


def check_form(service: str, pairs: Iterable[tuple[str, str]]) -> list[str]:
    """The mistakes in a request to EC2 or STS, from its decoded form.

    Each is one line with the operation, the member and the rule.
    """
    model = service_model(service)
    given = list(pairs)
    named = dict(given)
    action, version = named.get("Action", ""), named.get("Version")
    operation = _operation(model, action)
    if operation is None:
        return [f"{service}:{action}: no such operation"]
    parameters = read_query(
        operation.input_shape,
        [pair for pair in given if pair[0] not in ("Action", "Version")],
        model.metadata["protocol"],
    )
    wrong = [] if version == model.api_version else [f"Version is {model.api_version}"]
    return _lines(service, operation, [*wrong, *_broken(operation, parameters)])


def check_json(service: str, target: str, body: bytes) -> list[str]:
    """The same for a request to another service, from its `X-Amz-Target` and its body."""
    model = service_model(service)
    prefix, _, action = target.rpartition(".")
    operation = _operation(model, action)
    if operation is None or prefix != model.metadata.get("targetPrefix"):
        return [f"{service}:{action}: no such operation as {target}"]
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return _lines(service, operation, ["the body is no JSON object"])
    parameters = read_json(operation.input_shape, document)
    return _lines(service, operation, _broken(operation, parameters))


def _operation(model: ServiceModel, action: str) -> OperationModel | None:
    try:
        return model.operation_model(action)
    except OperationNotFoundError:
        return None


def _lines(service: str, operation: OperationModel, wrong: Iterable[str]) -> list[str]:
    return [f"{service}:{operation.name}: {one}"[:_LONGEST_LINE] for one in wrong]


def _broken(operation: OperationModel, parameters: Any) -> list[str]:
    if operation.input_shape is None:
        return [f"{name} is unknown" for name in parameters]
    return RequestValidator().validate(parameters, operation.input_shape).lines()


class InvalidRequests:
    """The mistakes in functions' requests that AWS would refuse; equal ones once."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}
        self._lock = threading.Lock()

    def add(self, lines: list[str]) -> None:
        """Remember the mistakes in a request."""
        with self._lock:
            self._lines.update(dict.fromkeys(lines))

    def take(self) -> list[str]:
        """Return everything so far, and forget it."""
        with self._lock:
            lines, self._lines = list(self._lines), {}
        return lines


class InvalidRequestError(AssertionError):
    """A function sent a request that AWS would refuse; the message has a line for each mistake."""


class Findings(ValidationErrors):
    """botocore's findings, and those of the rules added here."""

    def lines(self) -> list[str]:
        """One line for each finding."""
        return [self._format_error(error) for error in self._errors]

    def _format_error(self, error: Any) -> str:
        reason, name, facts = error
        if reason == _RULE:
            return f"{self._get_name(name)}: {facts[_RULE]}"
        return super()._format_error(error)


class RequestValidator(ParamValidator):
    """botocore's validator, with the model's rules that botocore leaves to the service."""

    # Without these, botocore skips the items of a list of such strings or numbers.
    VALIDATED_METADATA_ATTRS = ParamValidator.VALIDATED_METADATA_ATTRS | {"enum", "pattern", "max"}

    def validate(self, params: Any, shape: Any) -> Findings:
        """Return all findings."""
        errors = Findings()
        self._validate(params, shape, errors, name="")
        return errors

    def _validate(self, params: Any, shape: Any, errors: Any, name: str) -> None:
        super()._validate(params, shape, errors, name)
        for rule in _broken_rules(params, shape):
            errors.report(name, _RULE, **{_RULE: rule})


def _broken_rules(value: Any, shape: Any) -> Iterator[str]:
    kind, rules = shape.type_name, shape.metadata
    if isinstance(value, str) and kind == "string":
        yield from _broken_text_rules(value, rules)
    # Python and botocore accept a bool as a number.
    if isinstance(value, bool) and kind != "boolean":
        yield f"{value} is no {kind}"
    size = _size(value, kind)
    if size is None:
        return
    if "max" in rules and size > rules["max"]:
        yield f"{size} is more than the largest size, {rules['max']}"
    # botocore checks the smallest sizes of the other types.
    if kind in ("map", "blob") and size < rules.get("min", 0):
        yield f"{size} is less than the smallest size, {rules['min']}"
    if kind in _BITS and not -(2 ** _BITS[kind]) <= size < 2 ** _BITS[kind]:
        yield f"{size} is no {kind}"


def _broken_text_rules(text: str, rules: dict[str, Any]) -> Iterator[str]:
    allowed, pattern = rules.get("enum"), rules.get("pattern")
    if allowed and text not in allowed:
        yield f"{text!r} is none of {', '.join(allowed)}"
    # AWS matches whole values: "Member must satisfy regular expression pattern".
    if pattern and not _compiled(pattern).fullmatch(text):
        yield f"{text!r} does not match the pattern {pattern}"


@functools.cache
def _compiled(pattern: str) -> Any:
    # In Java, \w and \d match ASCII only; \p{..} matches Unicode.
    return regex.compile(pattern, 0 if r"\p" in pattern else regex.ASCII)


def _size(value: Any, kind: str) -> int | float | None:
    """A number itself, or the length of another value.

    None for a value of the wrong type, which botocore reports.
    """
    if kind in ("integer", "long", "float", "double"):
        return value if isinstance(value, int | float) else None
    expected = {"string": str, "list": list, "map": dict, "blob": bytes}.get(kind)
    return len(value) if expected and isinstance(value, expected) else None
