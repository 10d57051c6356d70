"""The house: who may import whom, what an import costs, and that the project's files agree with each other."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import grinder_kit


def test_rooms_import_only_from_rooms_above(root: Path) -> None:
    """import-linter finds every contract of pyproject.toml kept."""
    command = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([command, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_import_is_light() -> None:
    """`import grinder_kit` loads none of the heavy libraries, and neither does `import grinder_widgets`."""
    heavy = ["numpy", "numba", "polars", "ccxt", "aiohttp", "plotly", "pydantic", "tomlkit", "ipywidgets", "typer"]
    code = f"import sys, grinder_kit, grinder_widgets; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_reading_a_configuration_is_light() -> None:
    """A wrong configuration is refused without loading the compiler or the data frames."""
    heavy = ["numpy", "numba", "polars", "ccxt", "aiohttp", "plotly", "tomlkit"]
    code = f"import sys, grinder_kit as gk; gk.load_config; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", grinder_kit.__all__)
def test_public_name_is_where_the_table_says(name: str) -> None:
    """Every public name loads."""
    assert getattr(grinder_kit, name) is not None


def test_public_names_are_listed_once() -> None:
    """`__all__`, the table of homes and the imports for type checkers name the same."""
    source = Path(grinder_kit.__file__).read_text(encoding="utf-8")
    typed = source.split("if TYPE_CHECKING:\n")[1].split("\n#:")[0]
    imported = set(re.findall(r"\b\w+\b", re.sub(r"from [\w.]+ import", "", typed)))
    assert set(grinder_kit.__all__) == set(grinder_kit._HOME) == imported
    assert set(grinder_kit.__all__) <= set(dir(grinder_kit))


def test_unknown_public_name_is_an_attribute_error() -> None:
    """A name that does not exist fails as in any module."""
    with pytest.raises(AttributeError, match="no attribute 'Replay'"):
        grinder_kit.Replay  # noqa: B018


def test_conda_environment_equals_pyproject(root: Path) -> None:
    """environment.yml asks for what pyproject.toml asks for (core, report, notebook, dev), in the same versions."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = {*project["dependencies"], *extras["report"], *extras["notebook"], *extras["dev"]}
    wanted.add(f"python{project['requires-python']}")
    environment = yaml.safe_load((root / "environment.yml").read_text(encoding="utf-8"))
    conda_names = {"prometheus_client": "prometheus-client"}
    given = set()
    for line in environment["dependencies"]:
        assert isinstance(line, str), f"{line}: everything comes from conda, nothing from a pip section"
        name, rest = re.fullmatch(r"([\w-]+)(.*)", line).groups()
        given.add(conda_names.get(name, name) + rest)
    assert given - {"pip"} == wanted
    assert environment["channels"][0] == "conda-forge"


def test_constraints_pin_every_dependency(root: Path) -> None:
    """constraints.txt holds nothing but exact versions, one for each dependency."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)
    pinned = {line.split("==")[0] for line in lines}
    named = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    assert {re.match(r"[\w-]+", line)[0] for line in named} <= pinned


def _tracked(root: Path) -> list[Path]:
    # Also what is not committed yet, so that a slip is found before the commit.
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [root / name for name in listed.stdout.split("\0") if name and (root / name).is_file()]


def test_no_machine_is_named(root: Path) -> None:
    """No tracked file names a path of one machine or the host of a package registry."""
    # Written apart, so that this file does not name them either.
    hosts = [
        "pypi" + ".org",
        "python" + "hosted.org",
        "registry.npm" + "js.org",
        "deb" + ".debian.org",
        "conda.anaconda" + ".org",
    ]
    paths = ["/" + "root/", "/" + "home/", "/" + "Users/", "/" + "work/", "/" + "opt/"]
    pattern = re.compile("|".join(map(re.escape, hosts)) + "|(?<![\\w.}])(?:" + "|".join(map(re.escape, paths)) + ")")
    found = []
    for path in _tracked(root):
        if path.suffix not in {".png", ".parquet", ".gz"}:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                if match := pattern.search(line):
                    found.append(f"{path.relative_to(root)}:{number}: {match[0]}")
    assert not found


def test_readme_names_commands_that_exist(root: Path) -> None:
    """Every `make` target and `grinder` command in the documents exists."""
    targets = set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    cli = importlib.import_module("grinder_kit.cli")
    commands = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    for name in ("README.md", "CONTRIBUTING.md", ".ci/run", "docs/architecture.md"):
        text = (root / name).read_text(encoding="utf-8")
        code = "\n".join(re.findall(r"`[^`]+`|^ {4}.*$|^make .*$", text, re.MULTILINE))
        assert set(re.findall(r"\bmake ([a-z]+)", code)) <= targets, name
        assert set(re.findall(r"\bgrinder ([a-z]+)", code)) <= commands, name


def test_version_is_in_the_changelog(root: Path) -> None:
    """CHANGELOG.md has a heading for the version of the package."""
    assert f"## {grinder_kit.__version__}" in (root / "CHANGELOG.md").read_text(encoding="utf-8")


def test_notebooks_carry_no_outputs(root: Path) -> None:
    """Notebooks are committed without outputs and execution counts."""
    nbformat = importlib.import_module("nbformat")
    for path in (root / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                assert not cell.outputs and cell.execution_count is None, path.name
