"""What a user installs: the wheel's contents, the names it offers, and documents that agree with the code."""

from __future__ import annotations

import configparser
import importlib
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

import ordinaut_ext_observability as package

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
PACKAGE = REPOSITORY / "ordinaut_ext_observability"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True, timeout=60)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as opened:
        yield opened


def metadata(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = [path for path in wheel.namelist() if path.endswith(f".dist-info/{name}")]
    return wheel.read(path).decode()


def test_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    inside = {path for path in wheel.namelist() if ".dist-info/" not in path}
    assert {path.split("/")[0] for path in inside} == {"ordinaut_ext_observability", "observability"}
    expected = {
        str(path.relative_to(REPOSITORY))
        for folder in (PACKAGE, REPOSITORY / "observability")
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == expected


def test_wheel_is_loadable_as_a_folder_of_the_host(wheel: zipfile.ZipFile) -> None:
    manifest = json.loads(wheel.read("ordinaut_ext_observability/extension.json"))
    assert f"ordinaut_ext_observability/{manifest['module']}" in wheel.namelist()
    assert manifest["version"] == Parser().parsestr(metadata(wheel, "METADATA"))["Version"] == package.__version__


def test_wheel_has_the_entry_point_and_the_command(wheel: zipfile.ZipFile) -> None:
    points = configparser.ConfigParser()
    points.read_string(metadata(wheel, "entry_points.txt"))
    assert dict(points["ordinaut.plugins"]) == {"observability": "ordinaut_ext_observability.extension:get_extension"}
    for target in (points["ordinaut.plugins"]["observability"], points["console_scripts"]["ordinaut-observability"]):
        module, _, attribute = target.partition(":")
        assert callable(getattr(importlib.import_module(module), attribute))


def test_wheel_is_for_every_platform(wheel: zipfile.ZipFile) -> None:
    assert "Tag: py3-none-any" in metadata(wheel, "WHEEL")


def test_every_public_name_resolves() -> None:
    assert package.__all__ == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name) is not None
        assert name in dir(package)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = package.no_such_name


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, ordinaut_ext_observability; print(*sorted(set(sys.modules) & set(sys.argv[1:])))"
    heavy = ["fastapi", "starlette", "uvicorn", "pydantic", "prometheus_client", "orjson", "typer"]
    ran = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True, timeout=30)
    assert ran.stdout.split() == []


def run_generate(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ordinaut_ext_observability.assets", "--check"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)


def test_generated_files_are_current() -> None:
    ran = run_generate(REPOSITORY)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_outdated_generated_file_is_named(tmp_path: Path) -> None:
    from ordinaut_ext_observability.assets.__main__ import write

    (tmp_path / "docs").mkdir()
    for page in ("settings.md", "endpoints.md"):
        (tmp_path / "docs" / page).write_bytes((REPOSITORY / "docs" / page).read_bytes())
    write(tmp_path)
    assert run_generate(tmp_path).returncode == 0
    (tmp_path / "extension.yaml").write_text("id: another\n")
    ran = run_generate(tmp_path)
    assert ran.returncode == 1
    assert [line.split()[0] for line in ran.stderr.splitlines() if "outdated" in line] == ["extension.yaml"]


def readme_commands() -> list[str]:
    readme = (REPOSITORY / "README.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("python3 -m venv")]


def test_readme_has_one_line_to_run_it_and_one_to_test_it() -> None:
    run, test = readme_commands()
    script = re.search(r"\.venv/bin/(ordinaut-\S+) (\w+)$", run)
    assert script
    assert script[1] in PROJECT["scripts"]
    described = subprocess.run(
        [str(Path(sys.executable).with_name(script[1])), script[2], "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert described.returncode == 0
    extras = re.search(r"-e '\.\[([\w,]+)\]'", test)
    assert extras
    assert set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])
    assert ".venv/bin/python -m pytest -q" in test


def test_readme_names_every_endpoint_and_command_that_exists() -> None:
    from ordinaut_ext_observability.cli.main import app
    from ordinaut_ext_observability.settings.load import SETTINGS

    readme = (REPOSITORY / "README.md").read_text()
    for command in app.registered_commands:
        name = command.name or command.callback.__name__.replace("_", "-")
        assert f"ordinaut-observability {name}" in readme
    known = {setting.variable for setting in SETTINGS}
    assert set(re.findall(r"ORDINAUT_OBS_[A-Z_]+", readme)) <= known


def test_every_page_that_is_linked_is_there() -> None:
    for page in (REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).is_file(), f"{page.name}: {target}"


def test_every_metric_is_once_in_the_reference() -> None:
    reference = (REPOSITORY / "docs" / "metrics.md").read_text()
    names = re.findall(r"^\| `(\w+)` \|", reference, re.MULTILINE)
    assert len(names) == len(set(names)) > 100


def test_metrics_that_pages_name_exist() -> None:
    reference = (REPOSITORY / "docs" / "metrics.md").read_text()
    known = set(re.findall(r"^\| `(\w+)` \|", reference, re.MULTILINE))
    named = re.findall(
        r"\b(?:orchestrator|ordinaut_observability)_[a-z_]+[a-z]\b", (REPOSITORY / "docs" / "prometheus.md").read_text()
    )
    assert {name.removesuffix("_count") for name in named} <= known


def test_python_versions_agree() -> None:
    declared = {entry.rpartition(" ")[2] for entry in PROJECT["classifiers"] if "Python :: 3." in entry}
    assert PROJECT["requires-python"] == f">={min(declared, key=lambda text: int(text.partition('.')[2]))}"
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in declared
