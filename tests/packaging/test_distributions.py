"""What pip would install: names, metadata and package data, without building an archive."""

import sys
from pathlib import Path

import pytest

from unconcept.io import weights

ROOT = Path(__file__).parents[2]

wheel_builder = pytest.importorskip("hatchling.builders.wheel")
sdist_builder = pytest.importorskip("hatchling.builders.sdist")

# Files that are no code, and that something reads at run time.
DATA = (
    "cli/presets/sdxl-12gb.yaml",
    "concepts/wordnet-nouns.txt.gz",
    "concepts/wordnet-nouns.LICENSE.txt",
    "evaluation/emoji/judge.safetensors",
    "evaluation/emoji/atlas/noto.webp",
    "models/emoji/methods.yaml",
    "models/emoji/pipeline/model_index.json",
    "models/emoji/pipeline/unet/diffusion_pytorch_model.safetensors",
    "models/emoji/flow/transformer/diffusion_pytorch_model.safetensors",
    "models/emoji/video/motion.safetensors",
    "evaluation/emoji/motion_judge.safetensors",
    "reporting/templates/report.html",
)


def files(builder) -> set[str]:
    return {file.distribution_path for file in builder.recurse_included_files()}


def test_a_wheel_holds_the_package_and_nothing_else():
    names = files(wheel_builder.WheelBuilder(str(ROOT)))
    assert {name.partition("/")[0] for name in names} == {"unconcept"}
    assert {f"unconcept/{name}" for name in DATA} <= names
    for file in (ROOT / "src/unconcept").rglob("*.py"):
        assert file.relative_to(ROOT / "src").as_posix() in names
    assert not [name for name in names if "test" in name.rpartition("/")[2] or ".DS_Store" in name]


def test_a_source_archive_holds_what_it_is_built_and_tested_from():
    names = files(sdist_builder.SdistBuilder(str(ROOT)))
    assert {"src/unconcept/__init__.py", "tests/conftest.py", "docs/generator.py"} <= names
    assert not [name for name in names if name.startswith(("benchmarks/results", ".git/"))]
    assert not [name for name in names if ".work/" in name or "node_modules" in name]


def test_metadata():
    metadata = wheel_builder.WheelBuilder(str(ROOT)).metadata.core
    assert metadata.name == "unconcept"
    assert metadata.scripts == {"unconcept": "unconcept.cli:main"}
    assert {"evaluate", "nudenet", "quant", "track"} <= metadata.optional_dependencies.keys()
    named = [*metadata.dependencies]
    for extra in metadata.optional_dependencies.values():
        named += extra
    assert not [line for line in named if line.startswith("torchvision")]
    page = (ROOT / "docs/guides/installing.md").read_text(encoding="utf-8")
    for extra in metadata.optional_dependencies:
        assert f"| `{extra}` |" in page, (
            f"docs/guides/installing.md does not name the extra {extra}"
        )


@pytest.mark.parametrize(
    ("platform", "variables", "path"),
    [
        ("linux", {}, "home/.cache/unconcept"),
        ("linux", {"XDG_CACHE_HOME": "xdg"}, "xdg/unconcept"),
        ("darwin", {}, "home/Library/Caches/unconcept"),
        ("win32", {"LOCALAPPDATA": "local"}, "local/unconcept/Cache"),
        ("win32", {}, "home/AppData/Local/unconcept/Cache"),
        ("win32", {"UNCONCEPT_CACHE": "mine"}, "mine"),
    ],
)
def test_the_cache_lies_where_the_system_keeps_caches(platform, variables, path, monkeypatch):
    for name in ("UNCONCEPT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("home"))
    assert weights.user_cache().as_posix() == path
