"""Files that an operator deploys beside the host: `ordinaut-observability export DIR`; also kept under `docker/`.

The same definitions give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ordinaut_ext_observability.alerts.routing.config import SECRETS
from ordinaut_ext_observability.alerts.routing.defaults import default_config
from ordinaut_ext_observability.assets.data import read_files
from ordinaut_ext_observability.assets.elastic import index_template
from ordinaut_ext_observability.assets.grafana import dashboards
from ordinaut_ext_observability.assets.prometheus import builtin_rules, slo_rules, to_yaml
from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.settings.parts import NotificationSettings
from ordinaut_ext_observability.settings.sections import RuleOverride

_EVERY_WAY = {
    "slack_webhook_url": "https://hooks.slack.com/services/from-a-file",
    "pagerduty_routing_key": "taken-from-a-file",
    "smtp_url": "smtp://ordinaut:from-a-file@smtp.example.org:587",
    "email_from": "ordinaut@example.org",
    "email_to": "operators@example.org",
}
_OURS = {"log_configs", "function_configs"}
"""Ways that only the process has."""
_SECRETS_FOLDER = "/etc/alertmanager/secrets"

LOCAL_URL = "http://localhost:8080"
"""The host's URL as people see it, where none is given: Ordinaut's port on their own machine."""


def exported_files(overrides: Mapping[str, RuleOverride], url: str = LOCAL_URL) -> dict[str, str]:
    """The texts of all files by their paths.

    `overrides` change built-in rules, by the alert's name; `url` is the host's, for links to it.
    """
    ours = f"{url.rstrip('/')}/ext/observability".replace("{", "%7B")  # in rules, a template would begin there
    return {
        **read_files(),
        "prometheus/rules/ordinaut.yml": builtin_rules(overrides, ours),
        "prometheus/rules/slo.yml": slo_rules(ours),
        "alertmanager/alertmanager.yml": alertmanager_config(),
        "logs/elasticsearch-template.json": index_template(),
        **{f"grafana/dashboards/{name}": text for name, text in dashboards(ours).items()},
    }


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write files below a folder, over what is there. Raises ObservabilityError where it cannot."""
    for name, text in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ObservabilityError(f"{path} cannot be written: {error.strerror}") from None


def alertmanager_config() -> str:
    """The routes the process uses by default, with every way to tell people; secrets are read from files."""
    config = default_config(NotificationSettings.model_validate(_EVERY_WAY))
    comment = (
        f"Generated. Put each secret into its file in {_SECRETS_FOLDER}, set addresses,\n"
        "# and take out what you do not use: a receiver without any is fine."
    )
    return to_yaml(_with_secret_files(config), comment)


def _with_secret_files(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_secret_files(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    kept = {name: _with_secret_files(each) for name, each in value.items() if name not in _OURS and name not in SECRETS}
    return kept | {f"{name}_file": f"{_SECRETS_FOLDER}/{name}" for name in value if name in SECRETS}
