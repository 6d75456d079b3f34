# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A description of GPUs is read as far as its devices, and held against others beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _cdi
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

# In the shape that `nvidia-ctk cdi generate` has in the toolkit's own tests (cmd/nvidia-ctk/cdi/generate/generate_test.go).
SPECIFICATION = """---
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
    - name: "0"
      containerEdits:
        deviceNodes:
            - path: /dev/nvidia0
              hostPath: /dev/nvidia0
    - name: "1:0"
      containerEdits:
        deviceNodes:
            - path: /dev/nvidia1
            - path: /dev/nvidia-caps/nvidia-cap66
    - name: GPU-1f20dd3c-3805-5330-8c61-0669a0ef6295
      containerEdits:
        deviceNodes:
            - path: /dev/nvidia0
    - name: all
      containerEdits:
        deviceNodes:
            - path: /dev/nvidia0
containerEdits:
    env:
        - NVIDIA_VISIBLE_DEVICES=void
    hooks:
        - hookName: createContainer
          path: /usr/bin/nvidia-cdi-hook
          args:
            - nvidia-cdi-hook
            - enable-cuda-compat
            - --host-driver-version=580.105.08
"""
# Keys in another order, as other writers have them, and as JSON.
SORTED = 'cdiVersion: 0.5.0\ndevices:\n- containerEdits: {}\n  name: "7"\nkind: nvidia.com/gpu\n'
JSON = '{\n  "cdiVersion": "0.5.0",\n  "kind": "nvidia.com/gpu",\n  "devices": [\n    {\n      "name": "0",\n      "containerEdits": {}\n    }\n  ]\n}\n'
UUID = "nvidia.com/gpu=GPU-1f20dd3c-3805-5330-8c61-0669a0ef6295"


def test_the_devices_are_found() -> None:
    assert _cdi.devices(SPECIFICATION) == ["nvidia.com/gpu=0", "nvidia.com/gpu=1:0", UUID, "nvidia.com/gpu=all"]
    assert _cdi.devices(SORTED) == ["nvidia.com/gpu=7"]
    assert _cdi.devices(JSON) == ["nvidia.com/gpu=0"]


def test_a_description_of_nothing_is_refused() -> None:
    assert _cdi.refusal(SPECIFICATION) is None
    for text in ("kind: nvidia.com/gpu\ndevices: []\n", "kind: nvidia.com/gpu\ndevices:\n    - name: all\n"):
        assert "describes no GPU of this host" in (_cdi.refusal(text) or "")


def test_the_toolkits_own_settings_count() -> None:
    text = (
        "# NVIDIA_CTK_DEBUG=1\n; x=1\n\nNVIDIA_CTK_CDI_OUTPUT_FILE_PATH=\"/etc/cdi/nvidia.yaml\"\nA = 'b c'\nnothing\n"
    )
    variables = _cdi.settings(text)
    assert variables == {"NVIDIA_CTK_CDI_OUTPUT_FILE_PATH": "/etc/cdi/nvidia.yaml", "A": "b c"}
    assert _cdi.output(variables) == "/etc/cdi/nvidia.yaml"
    assert _cdi.output({}) == "/var/run/cdi/nvidia.yaml"
    with pytest.raises(AirgapError, match="cannot be read"):
        _cdi.settings('A="open')


def test_other_files_of_the_kind_are_found(tmp_path: Path) -> None:
    one, two = tmp_path / "etc", tmp_path / "run"
    for directory in (one, two):
        directory.mkdir()
    path = two / "nvidia.yaml"
    path.write_text(SPECIFICATION)
    (two / "link.yaml").symlink_to(path)
    (one / "nvidia.json").write_text(JSON)
    (one / "other.yaml").write_text("kind: example.com/net\n")
    directories = (str(one), str(two), str(tmp_path / "absent"))
    assert _cdi.others(str(path), directories) == {str(one / "nvidia.json"): JSON}


def test_other_files_are_told_when_they_mislead() -> None:
    path = "/var/run/cdi/nvidia.yaml"
    # What it offers is there, and the first directory loses anyway.
    assert _cdi.remarks(path, SPECIFICATION, {"/etc/cdi/nvidia.json": JSON}) == []
    (stale,) = _cdi.remarks(path, SPECIFICATION, {"/etc/cdi/old.yaml": SORTED})
    assert stale.startswith("/etc/cdi/old.yaml offers nvidia.com/gpu=7, which this host does not have")
    (clash,) = _cdi.remarks(path, SPECIFICATION, {"/var/run/cdi/nvidia.json": JSON})
    assert "Docker gives none of them" in clash
