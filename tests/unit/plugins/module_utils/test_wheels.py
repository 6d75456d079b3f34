# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wheels for another Python: the real pip, and an index of a few small wheels made here."""

from __future__ import annotations

import email
import os
import sys
import zipfile
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _wheels
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
# A Python that certainly is not the one that runs.
THERE = _wheels.Target("3.99", "amd64")
PLAIN_PIP = "import runpy, sys; del sys.argv[1]; runpy.run_module('pip', run_name='__main__', alter_sys=True)"


class Index:
    """A folder of wheels that pip takes for the only index there is."""

    def __init__(self, root: Path) -> None:
        self.root = root / "index"
        self.root.mkdir()
        self.scratch = root / "scratch"
        self.cache = root / "cache"

    def add(self, name: str, version: str, *requires: str, python: str = ">=3.8", extras: tuple[str, ...] = ()) -> None:
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", f"Requires-Python: {python}"]
        lines += [f"Requires-Dist: {line}" for line in requires] + [f"Provides-Extra: {extra}" for extra in extras]
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(self.root / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{info}/METADATA", "\n".join([*lines, "License: MIT", "", "A description: with a colon."]))
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")

    def collect(
        self, *requirements: str, executable: str = sys.executable, update: bool = False, keep: bool = True
    ) -> list[str]:
        self.scratch.mkdir(exist_ok=True)
        scratch = self.scratch / str(len(os.listdir(self.scratch)))
        scratch.mkdir()
        arguments = (executable, THERE, list(requirements), str(scratch), str(self.cache))
        found = _wheels.collect(*arguments, update=update, keep=keep)
        assert all(os.path.isfile(item.path) for item in found)
        return [f"{item.wheel.project} {item.wheel.version}" for item in found]


@pytest.fixture(name="index")
def fixture_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    index = Index(tmp_path)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in {"CONFIG_FILE": "/dev/null", "NO_INDEX": "1", "FIND_LINKS": str(index.root)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return index


@pytest.fixture(name="any_pip", params=["with the target's eyes", "with its own eyes"])
def fixture_any_pip(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What must hold although pip reads conditions with the eyes of the Python that runs it."""
    if request.param == "with its own eyes":
        monkeypatch.setattr(_wheels, "_PIP", PLAIN_PIP)


@pytest.mark.usefixtures("any_pip")
def test_what_only_the_target_needs_is_brought_and_what_only_this_python_needs_is_not(index: Index) -> None:
    index.add("app", "1", 'new ; python_version >= "3.99"', f'old ; python_version == "{HERE}"')
    index.add("new", "1", 'deeper ; python_version >= "3.99"')
    for name in ("deeper", "old"):
        index.add(name, "1")
    assert index.collect("app") == ["app 1", "deeper 1", "new 1"]


def test_what_only_this_python_needs_may_be_unavailable(index: Index) -> None:
    index.add("app", "1", f'old ; python_version == "{HERE}"')
    index.add("old", "1", python="<3.99")
    assert index.collect("app") == ["app 1"]


@pytest.mark.usefixtures("any_pip")
def test_the_last_number_of_the_version_is_not_known_so_both_sides_travel(index: Index) -> None:
    index.add("app", "1", 'early ; python_full_version < "3.99.3"', 'late ; python_full_version >= "3.99.3"')
    for name in ("early", "late"):
        index.add(name, "1")
    assert index.collect("app") == ["app 1", "early 1", "late 1"]


@pytest.mark.usefixtures("any_pip")
def test_versions_agree_with_what_only_the_target_asks_for(index: Index) -> None:
    index.add("app", "1", "shared", 'new ; python_version >= "3.99"')
    index.add("new", "1", "shared<2")
    index.add("shared", "1")
    index.add("shared", "2")
    assert index.collect("app") == ["app 1", "new 1", "shared 1"]


@pytest.mark.usefixtures("any_pip")
def test_extras_are_followed_on_the_target(index: Index) -> None:
    index.add("app", "1", "lib[all]")
    index.add("lib", "1", 'lib[Fast_One] ; extra == "all"', 'quick ; extra == "fast-one"', extras=("all", "fast-one"))
    index.add("quick", "1", 'tool ; python_version >= "3.99"')
    index.add("tool", "1")
    assert index.collect("app") == ["app 1", "lib 1", "quick 1", "tool 1"]


@pytest.mark.usefixtures("any_pip")
def test_the_machine_is_the_targets(index: Index) -> None:
    arm = _wheels.Target("3.99", "arm64")
    index.add("app", "1", 'intel ; platform_machine == "x86_64"', 'windows ; sys_platform == "win32"')
    index.add("intel", "1")
    assert index.collect("app") == ["app 1", "intel 1"]
    index.scratch.joinpath("arm").mkdir()
    found = _wheels.collect(
        sys.executable, arm, ["app"], f"{index.scratch}/arm", str(index.cache), update=False, keep=True
    )
    assert [item.wheel.project for item in found] == ["app"]


@pytest.mark.usefixtures("any_pip")
def test_what_cannot_be_had_is_named_with_who_asked(index: Index) -> None:
    index.add("app", "1", 'gone>=2 ; python_version >= "3.99"')
    with pytest.raises(AirgapError, match=r"(?s)gone>=2.*app") as caught:
        index.collect("app")
    assert "Python 3.99 on amd64" in str(caught.value)
    assert "PIP_INDEX_URL" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_condition_of_the_requirements_themselves_is_read_for_the_target(index: Index) -> None:
    index.add("app", "1")
    assert index.collect("app", f'gone ; python_version == "{HERE}"') == ["app 1"]


def test_a_wheel_can_be_named_by_its_path(index: Index) -> None:
    index.add("app", "1", "lib")
    index.add("lib", "1")
    assert index.collect(str(index.root / "app-1-py3-none-any.whl")) == ["app 1", "lib 1"]


def test_the_second_time_pip_is_not_asked(index: Index) -> None:
    index.add("app", "1", "lib")
    index.add("lib", "1")
    first = index.collect("app")
    index.add("lib", "2")
    assert index.collect("app", executable="/nonexistent/python") == first
    assert index.collect("app", update=True) == ["app 1", "lib 2"]
    with pytest.raises(AirgapError, match="nonexistent"):
        index.collect("app", "lib<2", executable="/nonexistent/python")


@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_a_cache_that_was_harmed_is_mended(index: Index, harm: str) -> None:
    index.add("app", "1")
    index.collect("app")
    path = index.cache / "wheels/app-1-py3-none-any.whl"
    path.write_bytes(b"x") if harm == "changed" else path.unlink()
    assert index.collect("app") == ["app 1"]
    assert zipfile.is_zipfile(path)


def test_nothing_is_kept_where_nothing_may_be(index: Index) -> None:
    index.add("app", "1")
    assert index.collect("app", keep=False) == ["app 1"]
    assert not index.cache.exists()


@pytest.mark.parametrize(
    ("requirement", "said"),
    [
        ("--index-url=http://example.org", "is an option"),
        ("no such thing", "no requirement"),
        ("x.whl", "name of a wh"),
    ],
)
def test_what_is_no_requirement_is_told(index: Index, requirement: str, said: str) -> None:
    with pytest.raises(AirgapError, match=said):
        index.collect(requirement)


@pytest.mark.parametrize(("python", "machine"), [("3", "amd64"), ("3.13.1", "amd64"), ("3.13", "s390x")])
def test_a_target_without_wheels_is_told(python: str, machine: str) -> None:
    with pytest.raises(AirgapError, match=r"s390x|bundle_controller_python"):
        _wheels.check_target(_wheels.Target(python, machine))


def test_names_of_wheels_are_read() -> None:
    assert _wheels.parse_wheel("PyYAML-6.0.3-cp313-cp313-manylinux2014_x86_64.whl")[1:] == ("pyyaml", "6.0.3")
    assert _wheels.parse_wheel("ansible_core-2.19.14-1-py3-none-any.whl")[1:] == ("ansible-core", "2.19.14")
    with pytest.raises(AirgapError):
        _wheels.parse_wheel("ansible_core-2.19.14.tar.gz")


def test_requirements_are_exact_and_differ_by_python_only_where_needed() -> None:
    same, old, new = (_wheels.Wheel("", *parts) for parts in (("a", "1"), ("b", "1"), ("b", "2")))
    assert _wheels.pins({"3.11": [same, old], "3.13": [same, new]}) == [
        "a==1",
        'b==1 ; python_version == "3.11"',
        'b==2 ; python_version == "3.13"',
    ]


@pytest.mark.parametrize(
    ("said", "licence"),
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: something else", "MIT OR Apache-2.0"),
        ("License: BSD\nClassifier: License :: OSI Approved :: BSD License", "BSD"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: BSD License", "BSD License"),
        ("License: Copyright\n        All of this text\nClassifier: License :: Public Domain", "Public Domain"),
        ("Classifier: Programming Language :: Python", ""),
    ],
)
def test_licences_are_what_the_wheel_says(said: str, licence: str) -> None:
    assert _wheels.licence_of(email.message_from_string(f"{said}\n\n")) == licence
