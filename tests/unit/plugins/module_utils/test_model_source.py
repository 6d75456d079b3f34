# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model is named by its content, copied once, and carried as files whatever links its source has."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _model_source
from ansible_collections.airgap.inference.plugins.module_utils._digest import Record
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


@pytest.fixture(name="source")
def fixture_source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "tokenizer").mkdir(parents=True)
    (source / "config.json").write_text("{}")
    (source / "tokenizer/Ünicode name.json").write_text("[]")
    return source


def read(source: Path) -> _model_source.Source:
    return _model_source.Source("m", str(source), _model_source.read_directory("m", str(source)))


def take(tmp_path: Path, source: Path) -> _model_source.Model:
    return _model_source.take(str(tmp_path / "models"), read(source), Record(str(tmp_path / "digests.json")))


def held(tmp_path: Path, source: Path) -> _model_source.Model | None:
    return _model_source.held(str(tmp_path / "models"), read(source))


def test_what_was_taken_is_held_until_the_source_changes(tmp_path: Path, source: Path) -> None:
    assert held(tmp_path, source) is None
    model = take(tmp_path, source)
    assert held(tmp_path, source) == model
    assert model.revision == model.digest[:16] and (model.size, model.files) == (4, 2)
    (source / "config.json").write_text("{ }")
    assert held(tmp_path, source) is None
    assert take(tmp_path, source).revision != model.revision


def test_the_list_is_what_sha256sum_reads(tmp_path: Path, source: Path) -> None:
    model = take(tmp_path, source)
    listing = tmp_path / f"models/m/{model.revision}.sha256"
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", str(listing)],
        cwd=tmp_path / f"models/m/{model.revision}",
        check=True,
    )
    assert (
        subprocess.run(["sha256sum", str(listing)], capture_output=True, check=True).stdout.decode()[:64]
        == model.digest
    )


def test_the_same_content_elsewhere_is_the_same_revision(tmp_path: Path, source: Path) -> None:
    model = take(tmp_path, source)
    os.utime(source / "config.json", (1, 1))
    again = take(tmp_path, source)
    assert again == model and held(tmp_path, source) == model


def test_an_interrupted_copy_goes_on(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = []
    real = _model_source.copy_with_sha256

    def once(origin: str, target: str) -> tuple[str, int]:
        if copied:
            raise OSError(5, "Input/output error")
        copied.append(origin)
        return real(origin, target)

    monkeypatch.setattr(_model_source, "default_workers", lambda: 1)
    monkeypatch.setattr(_model_source, "copy_with_sha256", once)
    with pytest.raises(OSError):
        take(tmp_path, source)
    assert held(tmp_path, source) is None
    first = list(copied)
    monkeypatch.setattr(
        _model_source, "copy_with_sha256", lambda origin, target: (copied.append(origin), real(origin, target))[1]
    )
    take(tmp_path, source)
    assert sorted(copied) == sorted({*copied}) and set(first) < set(copied)


def test_a_hub_cache_is_carried_as_files(tmp_path: Path) -> None:
    hub = tmp_path / "models--org--name"
    snapshot = hub / "snapshots/abc"
    (hub / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (hub / "blobs/123").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/123")
    model = take(tmp_path, snapshot)
    copied = tmp_path / f"models/m/{model.revision}/config.json"
    assert not copied.is_symlink() and copied.read_text() == "{}"
    assert held(tmp_path, snapshot) == model


def test_what_tools_leave_beside_a_model_is_left_out(tmp_path: Path, source: Path) -> None:
    (source / ".git").mkdir()
    (source / ".git/objects").write_text("large")
    assert set(_model_source.read_directory("m", str(source))) == {"config.json", "tokenizer/Ünicode name.json"}


def refused(source: Path | str) -> str:
    with pytest.raises(AirgapError) as caught:
        _model_source.read_directory("m", str(source))
    return str(caught.value)


def test_refusals_name_the_file_and_the_remedy(tmp_path: Path, source: Path) -> None:
    assert "hf://organisation/name@revision" in refused("s3://bucket/name")
    assert "not there" in refused(tmp_path / "none")
    assert "absolute" in refused("relative")
    with pytest.raises(AirgapError, match=r"\.\./up"):
        _model_source.check_name("../up")
    (tmp_path / "empty").mkdir()
    assert "no files" in refused(tmp_path / "empty")
    (source / "out").symlink_to("/etc/hostname")
    assert "out -> /etc/hostname" in refused(source)
    (source / "out").unlink()
    (source / "linked").symlink_to("tokenizer")
    assert "linked" in refused(source)
    (source / "linked").unlink()
    (source / "broken").symlink_to("nothing")
    assert "broken" in refused(source)
    (source / "broken").unlink()
    os.mkfifo(source / "pipe")
    assert "pipe" in refused(source)


def test_models_and_revisions_that_are_no_longer_listed_go(tmp_path: Path, source: Path) -> None:
    old = take(tmp_path, source)
    (source / "config.json").write_text("[1]")
    new = take(tmp_path, source)
    (tmp_path / "models/other/abc").mkdir(parents=True)
    gone = _model_source.prune(str(tmp_path / "models"), [new])
    assert gone == sorted([f"m/{old.revision}", f"m/{old.revision}.sha256", "other"])
    assert held(tmp_path, source) == new


def test_a_full_disk_is_told_before_the_first_byte(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_model_source.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 3})())
    with pytest.raises(AirgapError, match="needs 4 bytes more"):
        take(tmp_path, source)


def of_hub(tmp_path: Path, *, chosen: bool = False) -> _model_source.Source:
    """A file of a hub as it lies in the cache."""
    blob = tmp_path / "cache/blob"
    blob.parent.mkdir(exist_ok=True)
    blob.write_text("{}")
    digest = hashlib.sha256(b"{}").hexdigest()
    entry = _model_source.Entry(2, blob.stat().st_mtime, digest, str(blob))
    return _model_source.Source("m", "hf://o/n@c", {"config.json": entry}, "c" * 40, chosen)


def test_a_model_of_a_hub_is_named_by_its_commit_and_not_read_again(tmp_path: Path) -> None:
    record, source = Record(str(tmp_path / "digests.json")), of_hub(tmp_path)
    model = _model_source.take(str(tmp_path / "models"), source, record)
    assert model.revision == "c" * 40
    directory = tmp_path / "models/m" / model.revision
    assert (directory / "config.json").stat().st_nlink == 2
    assert record.known(str(directory / "config.json")) == source.entries["config.json"].sha256
    assert record.known(f"{directory}.sha256") == model.digest
    still_there = source._replace(entries={"config.json": _model_source.Entry(2)})
    assert _model_source.held(str(tmp_path / "models"), still_there) == model
    other = source._replace(entries={"config.json": _model_source.Entry(2, sha256="0" * 64)})
    assert _model_source.held(str(tmp_path / "models"), other) is None


def test_where_patterns_chose_the_commit_alone_is_no_name(tmp_path: Path) -> None:
    source = of_hub(tmp_path, chosen=True)
    model = _model_source.take(str(tmp_path / "models"), source, Record(None))
    assert model.revision == f"{'c' * 40}-{model.digest[:8]}"
    assert _model_source.held(str(tmp_path / "models"), source) == model


def test_a_file_of_the_cache_is_checked_while_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(_origin: str, _target: str) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(_model_source.os, "link", no_links)
    source = of_hub(tmp_path)
    model = _model_source.take(str(tmp_path / "models"), source, Record(None))
    assert (tmp_path / "models/m" / model.revision / "config.json").stat().st_nlink == 1
    (tmp_path / "cache/blob").write_text("[]")
    os.utime(tmp_path / "cache/blob", (1, 1))
    rotten = source._replace(name="n", entries={"config.json": source.entries["config.json"]._replace(mtime=1.0)})
    with pytest.raises(AirgapError, match="is not what was fetched"):
        _model_source.take(str(tmp_path / "models"), rotten, Record(None))
    assert not (tmp_path / "cache/blob").exists()


def test_the_licence_of_the_card_is_part_of_the_artifact(tmp_path: Path, source: Path) -> None:
    (source / "README.md").write_text("---\nlicense: mit\n---\n")
    artifact = take(tmp_path, source).artifact()
    assert artifact["licence"] == "mit" and artifact["directory"] == f"models/m/{artifact['revision']}"
