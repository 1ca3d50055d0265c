"""Who we say we are, in every place where it is said."""

from __future__ import annotations

import json
from importlib.metadata import entry_points, metadata
from pathlib import Path

import yaml

from ordinaut_ext_observability import __version__, get_extension

REPOSITORY = Path(__file__).resolve().parents[2]


def test_manifest_info_and_extension_yaml_agree() -> None:
    info = get_extension().info()
    loaders = json.loads((REPOSITORY / "ordinaut_ext_observability" / "extension.json").read_text())
    catalogues = yaml.safe_load((REPOSITORY / "extension.yaml").read_text())
    for manifest in (loaders, catalogues):
        told = {key: manifest[key] for key in ("id", "name", "version", "description")}
        assert told == {
            "id": info.id,
            "name": info.name,
            "version": info.version,
            "description": info.description,
        }
        assert manifest["enabled"] is True
        assert manifest["eager"] is True
    assert set(loaders["grants"]) == {capability.name for capability in get_extension().requested_capabilities()}
    assert catalogues["grants"] == loaders["grants"]
    assert set(catalogues) == set(loaders)


def test_installed_distribution_has_the_same_version_and_the_entry_point_of_the_manifest() -> None:
    catalogues = yaml.safe_load((REPOSITORY / "extension.yaml").read_text())
    (entry_point,) = [point for point in entry_points(group="ordinaut.plugins") if point.name == catalogues["id"]]
    assert entry_point.value == catalogues["module"]
    assert entry_point.load()().info().id == catalogues["id"]
    assert metadata("ordinaut-ext-observability")["Version"] == __version__ == catalogues["version"]


def test_module_of_the_loaders_manifest_is_beside_it() -> None:
    folder = REPOSITORY / "ordinaut_ext_observability"
    assert (folder / json.loads((folder / "extension.json").read_text())["module"]).is_file()
