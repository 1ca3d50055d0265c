"""The rule files as the Prometheus Operator takes them."""

from __future__ import annotations

import yaml

from ordinaut_ext_observability.assets.export import LOCAL_URL, exported_files
from ordinaut_ext_observability.assets.prometheus import to_yaml

_RULE_FILES = ("prometheus/rules/ordinaut.yml", "prometheus/rules/slo.yml")


def prometheus_rule(_current: str, url: str = LOCAL_URL) -> str:
    """Manifest of a PrometheusRule with the groups of the rule files; `url` is the host's, for links to runbooks."""
    files = exported_files({}, url)
    manifest = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "ordinaut"},
        "spec": {"groups": [group for name in _RULE_FILES for group in yaml.safe_load(files[name])["groups"]]},
    }
    return to_yaml(manifest, f"Generated from {' and '.join(_RULE_FILES)}.")
