"""The configuration as Alertmanager's own tools can read it, without secrets: `amtool config routes` asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

SECRETS: Final = {
    *("api_url", "slack_api_url", "routing_key", "service_key", "auth_password", "smtp_auth_password", "password"),
    "credentials",
}
_OURS: Final = {"log_configs", "function_configs", "secret", "secret_file"}
"""Names that Alertmanager does not have: its tools refuse the whole file for one of them."""


def original_of(data: Mapping[str, Any]) -> str:
    """The YAML of a configuration; secrets are `<secret>`, as Alertmanager writes them."""
    return yaml.safe_dump(_shown(data), sort_keys=False, allow_unicode=True)


def _shown(value: Any, name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _shown(item, key) for key, item in value.items() if key not in _OURS}
    if isinstance(value, list):
        items = [_shown(item, name) for item in value]
        return items[0] if name == "repeat_interval" and items else items
    if name == "url" and isinstance(value, str):  # its path or query may be the key to it
        parts = urlsplit(value)
        return f"{parts.scheme}://{parts.hostname}/hidden"
    return "<secret>" if name in SECRETS and value is not None else value
