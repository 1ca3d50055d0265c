"""Plain words for what pydantic says of a wrong value. None of them repeats the value, which may be a secret."""

from __future__ import annotations

from pydantic_core import ErrorDetails

_MESSAGES = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_parsing": "is not a whole number",
    "int_parsing_size": "is too large a number",
    "int_from_float": "is not a whole number",
    "int_type": "is not a whole number",
    "float_parsing": "is not a number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "string_type": "must be text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "has characters that are not allowed here",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "extra_forbidden": "is not a field that exists here",
    "dict_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of names to values",
    "list_type": "must be a list",
    "url_parsing": "is not a URL that can be read",
    "url_scheme": "must begin with http:// or https://",
    "value_error": "{error}",
}


def plain_message(details: ErrorDetails) -> str:
    """Words that go on from the name of what was given: `must be at least 1`."""
    return _MESSAGES.get(details["type"], "cannot be used").format(**details.get("ctx", {}))
