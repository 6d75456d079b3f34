# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages on a host with dnf: the real dnf 4, rpm and versionlock install real RPMs from a bundle's signed repository.

The host is a Debian with dnf and without apt-get, since no other system can be had here; RPMs are all that its rpm knows.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _throwaway_root
from drivers_room import RELEASE, debian, lab_cache, publish
from drivers_room import TOOLS as ROOT_TOOLS
from host_room import LENT, Host, changed, lend
from packages_room import TOOLS, Source, Vendor, run

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, (*TOOLS, *ROOT_TOOLS))),
    reason=f"one of {', '.join((*TOOLS, *ROOT_TOOLS))} is not installed",
)

HEIR = "heir-of-a-name-so-long-that-dnf-breaks-its-table-in-two"
LOCKS = "/etc/dnf/plugins/versionlock.list"


def publish_sources(lent: Path, vendor: Vendor) -> Source:
    """A repository, and another with newer versions too; returns the latter."""
    first = Source(lent / "first", vendor)
    first.add("app", "1.0", "Epoch: 1", "Requires: library", "Recommends: extra")
    first.add("library", "1.0", arch="x86_64")
    first.add("extra", "1")
    first.add("rival", "1", "Conflicts: app")
    first.add(HEIR, "2", "Obsoletes: library", arch="x86_64")
    for version in ("580", "590"):
        first.add("driver", version, arch="x86_64", stream=f"driver:{version}-open")
        first.stream("driver", f"{version}-open", f"driver-0:{version}-1.el9.x86_64")
    first.default_stream("driver", "590-open")
    first.publish()
    second = Source(lent / "second", vendor)
    shutil.copytree(first.root / "Packages", second.root / "Packages", dirs_exist_ok=True)
    second.modules = first.modules
    second.add("app", "2.0", "Epoch: 1", "Requires: library")
    second.publish()
    return second


def stage(lent: Path, work: Path, source: Source) -> None:
    """A bundle's repository, closed under dependencies, and signed by the bundle's own key."""
    result = run(
        path=str(lent / "bundle"),
        target=source.target(modules=["driver:580-open"]),
        packages={"__x_packages": ["app", "driver"]},
        cache=str(work / "cache"),
        signing_key=str(work / "packages.asc"),
        digests=str(work / "digests.json"),
    )
    assert not result.get("failed"), result["msg"]


class Site:
    """A host with dnf, and repositories that it sees."""

    def __init__(self, host: Host, lent: Path, vendor: Vendor) -> None:
        self.host = host
        self.lent = lent
        self.vendor = vendor

    def call(self, *packages: str, at: str = "first", check: bool = False, **arguments: Any) -> dict[str, Any]:
        key = (self.lent / "bundle/archive-key.asc").read_text() if at == "bundle" else self.vendor.key
        repository = {"url": f"file://{LENT}/{at}", "key": key}
        return self.host.call("packages", check, **{"repository": repository, "packages": list(packages), **arguments})

    def changed(self, *packages: str, **arguments: Any) -> list[str]:
        """What changes, in short; that it works, and that check mode says the same before."""
        predicted = self.call(*packages, check=True, **arguments)
        result = self.call(*packages, **arguments)
        assert not result.get("failed"), result["msg"]
        assert {**predicted, "invocation": None} == {**result, "invocation": None}
        if result["changed"]:
            assert not self.call(*packages, **arguments)["changed"]
        changes = [f"{item['name']} {item['before']} {item['after']}" for item in result["packages"]]
        return changes + [f"{name} held" for name in result["held"]] + result["modules"]

    def there(self) -> list[str]:
        return sorted(self.host.run("rpm", "-qa", "--queryformat", "%{NAME} %{VERSION}\n").split("\n")[:-1])


@pytest.fixture(name="room", scope="module")
def fixture_room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    lent = tmp_path_factory.mktemp("lent")
    room = debian(RELEASE, lent / "packages", publish(lab_cache() / "vendor"))
    tools = ("dnf", "dnf-plugins-core", "rpm", "gpg", "gpg-agent")
    collected = room.collect("python3", *tools)
    assert "failed" not in collected, collected["msg"]
    # Rehearsing makes the empty root.
    assert "failed" not in room.rehearse("python3", groups=[{"name": "python", "packages": ["python3"]}])
    lend(lent)
    vendor = Vendor("a vendor")
    stage(lent, tmp_path_factory.mktemp("work"), publish_sources(lent, vendor))
    (base,) = (room.cache / "roots").glob("*/system")
    with _throwaway_root.Copy(str(base), str(lent), str(base.parent)) as copy:
        host = Host(copy, lent, *tools)
        host.run("sh", "-c", "rm /usr/bin/apt-get; echo module_platform_id=platform:el9 >> /etc/dnf/dnf.conf")
        yield Site(host, lent, vendor)
    vendor.close()


@pytest.fixture(name="site")
def fixture_site(room: Site) -> Site:
    """As if dnf had never done anything there."""
    used = "/root/.rpmdb /var/lib/rpm /var/lib/dnf /var/cache/dnf /etc/dnf/modules.d /etc/yum.repos.d /etc/pki"
    room.host.run("sh", "-c", f"rm -rf {used}; : > {LOCKS}")
    return room


def test_check_mode_is_right_on_a_host_that_never_saw_the_depot_and_changes_nothing(site: Site) -> None:
    before = site.host.state()
    result = site.call("app", at="bundle", check=True, hold=["app"])
    assert not result.get("failed"), result["msg"]
    assert result["changed"] and result["held"] == ["app"]
    assert [change["name"] for change in result["packages"]] == ["app", "library"]
    assert changed(before, site.host.state()) == [] and site.there() == []


def test_a_bundles_packages_come_from_the_depot_with_its_stream(site: Site) -> None:
    assert site.changed("app", "driver", at="bundle") == [
        "app None 1:2.0-1.el9",
        "driver None 580-1.el9",
        "library None 1.0-1.el9",
    ]
    # Weak dependencies stay away.
    assert site.there() == ["app 2.0", "driver 580", "library 1.0"]
    repository = site.host.run("cat", "/etc/yum.repos.d/airgap.repo")
    assert "repo_gpgcheck=1" in repository and f"baseurl=file://{LENT}/bundle" in repository


def test_packages_are_held_at_the_version_that_this_module_gave_them(site: Site) -> None:
    assert site.changed("app", hold=["app"]) == ["app None 1:1.0-1.el9", "library None 1.0-1.el9", "app held"]
    assert "app-1:1.0-1.el9.*" in site.host.run("cat", LOCKS)
    # The lock is one that dnf itself keeps to.
    dnf = f"dnf -y --disablerepo=* --repofrompath=x,file://{LENT}/second --nogpgcheck upgrade app"
    site.host.run("sh", "-c", dnf)
    assert "app 1.0" in site.there()
    # Another bundle: what is there stays, what is held moves only with leave, and is held again.
    assert site.changed("app", at="second", hold=["app"]) == []
    refused = site.call("app", at="second", state="latest")
    assert refused["failed"] and "would change app, held on this host by somebody else" in refused["msg"]
    assert site.changed("app", at="second", state="latest", hold=["app"]) == ["app 1:1.0-1.el9 1:2.0-1.el9"]
    locks = site.host.run("cat", LOCKS)
    assert "app-1:2.0-1.el9.*" in locks and "1.0" not in locks
    absent = site.call("app", hold=["nosuch"])
    assert absent["failed"] and "hold names nosuch" in absent["msg"]


def test_a_pattern_holds_what_comes_along_too(site: Site) -> None:
    held = site.changed("app", hold=["app", "lib*", "nosuch*"])
    assert held == ["app None 1:1.0-1.el9", "library None 1.0-1.el9", "app held", "library held"]
    locks = site.host.run("cat", LOCKS)
    assert "app-1:1.0-1.el9.*" in locks and "library-0:1.0-1.el9.*" in locks


def test_a_hold_without_the_plugin_is_refused_before_anything_changes(site: Site) -> None:
    site.host.run("sed", "-i", "s/enabled = 1/enabled = 0/", "/etc/dnf/plugins/versionlock.conf")
    refused = site.call("app", hold=["app"])
    site.host.run("sed", "-i", "s/enabled = 0/enabled = 1/", "/etc/dnf/plugins/versionlock.conf")
    assert refused["failed"] and "Add python3-dnf-plugin-versionlock to packages" in refused["msg"]
    assert site.there() == []


def test_a_version_may_be_a_pattern_and_may_go_back(site: Site) -> None:
    assert site.changed("app=1:1.0-*", at="second") == ["app None 1:1.0-1.el9", "library None 1.0-1.el9"]
    assert site.changed("app=1.*", "library-1.0", at="second") == []
    assert site.changed("app", at="second", state="latest") == ["app 1:1.0-1.el9 1:2.0-1.el9"]
    assert site.changed("app=1.0", at="second") == ["app 1:2.0-1.el9 1:1.0-1.el9"]


def test_streams_are_enabled_with_the_packages_and_switched(site: Site) -> None:
    before = site.host.state()
    refused = site.call("driver", "nosuch", modules=["driver:580-open"])
    assert refused["failed"] and "nosuch: not in the bundle's packages" in refused["msg"]
    refused = site.call("driver", modules=["driver:570-open"])
    assert refused["failed"] and "driver:570-open: no such module stream" in refused["msg"]
    new = [line for line in changed(before, site.host.state()) if "/etc/dnf/" in line]
    assert site.there() == [] and not [line for line in new if line.endswith(".module")]
    assert site.changed("driver", modules=["driver:580-open"]) == ["driver None 580-1.el9", "driver:580-open"]
    assert site.changed("driver", state="latest") == []
    assert site.changed("driver", modules=["driver:590-open"], state="latest") == [
        "driver 580-1.el9 590-1.el9",
        "driver:590-open",
    ]
    assert "driver:580" in site.call("driver", modules=["driver:580"])["msg"]


def test_nothing_is_removed_and_what_is_not_there_is_named(site: Site) -> None:
    site.changed("library-1.0")
    refused = site.call(HEIR)
    assert refused["failed"] and "Installing would remove library" in refused["msg"]
    site.changed("app")
    for wanted, said in {
        "rival": "rival-1-1.el9.noarch conflicts with app",
        HEIR: "obsoletes library",
        "nosuch": "nosuch: not in the bundle's packages",
    }.items():
        for check in (True, False):
            refused = site.call(wanted, check=check)
            assert refused["failed"] and said in refused["msg"]
    assert site.there() == ["app 1.0", "library 1.0"]


def test_metadata_of_another_key_is_refused(site: Site) -> None:
    site.lent.joinpath("bundle/archive-key.asc").touch()
    key = (site.lent / "bundle/archive-key.asc").read_text()
    refused = site.call("app", repository={"url": f"file://{LENT}/first", "key": key})
    assert refused["failed"] and "archive-key.asc of the bundle that the depot serves" in refused["msg"]
    assert site.there() == []


def test_a_repository_that_is_not_there_is_told_by_its_address(site: Site) -> None:
    refused = site.call("app", at="none")
    assert refused["failed"] and f"could not read the metadata from file://{LENT}/none" in refused["msg"]


def test_another_dnf_is_waited_for_and_then_named(site: Site) -> None:
    held = "mkdir -p /var/cache/dnf; echo 1 > /var/cache/dnf/metadata_lock.pid"
    site.host.run("sh", "-c", held)
    refused = site.call("app", lock_timeout=0)
    site.host.run("sh", "-c", "rm -f /var/cache/dnf/metadata_lock.pid")
    assert refused["failed"] and "Another package manager is at work" in refused["msg"], refused
