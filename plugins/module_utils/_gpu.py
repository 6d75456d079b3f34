# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nvidia-smi says of the GPUs, or why it cannot say it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _gpu_failures, _gpu_report
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

# The infoROM of a board is damaged: nvidia-smi says so with this status, and still describes every GPU.
_INFOROM_CORRUPTED = 14


class Answer(NamedTuple):
    """One run of nvidia-smi."""

    status: int
    stdout: str
    stderr: str


def ask(nvidia_smi: str, timeout: int, arguments: Sequence[str] = ("-q", "-x")) -> Answer:
    """Run nvidia-smi and bring back what it said, whatever it was."""
    program = shutil.which(nvidia_smi)
    if program is None:
        raise AirgapError(
            f"{nvidia_smi} is not installed on this host (or not on the PATH {os.environ.get('PATH', '')!r}), so its GPUs "
            "cannot be described. Install the NVIDIA driver with its tools; the gpu_host role does"
        )
    try:
        process = subprocess.Popen(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(os.environ, LC_ALL="C"),
            start_new_session=True,
        )
    except OSError as error:
        raise AirgapError(f"{program} cannot be started: {error.strerror or error}") from error
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as expired:
        process.kill()
        # A process that hangs in the driver cannot be killed: waiting for it would hang this module as well.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        raise AirgapError(
            f"{program} gave no answer within {timeout} seconds. A GPU or its driver hangs: look for 'Xid' and 'NVRM' in "
            "'dmesg'. Without nvidia-persistenced every call initialises all GPUs anew, which takes long on large hosts: "
            "switch it on, or raise the timeout"
        ) from expired
    return Answer(process.returncode, _decode(stdout), _decode(stderr))


def read(answer: Answer) -> dict[str, Any]:
    """Describe the GPUs from what nvidia-smi said, or tell why that cannot be done."""
    document, remarks = _split(answer.stdout)
    remarks = "\n".join(part for part in (remarks, answer.stderr.strip()) if part)
    described_all = document and answer.status == _INFOROM_CORRUPTED
    reason = _gpu_failures.explain(0 if described_all else answer.status, remarks)
    if reason is not None:
        raise AirgapError(reason)
    if not document:
        raise AirgapError("nvidia-smi -q -x exited with 0 and wrote no report. Run it by hand on the host")
    return dict(_gpu_report.parse(document), warnings=remarks.splitlines())


def describe(nvidia_smi: str, timeout: int) -> dict[str, Any]:
    """Everything that nvidia-smi says, the parts that its report leaves out as well."""
    described = read(ask(nvidia_smi, timeout))
    # An old nvidia-smi does not know the field, and answers with a sentence in the place of the lines.
    said = ask(nvidia_smi, timeout, ["--query-gpu=uuid,compute_cap", "--format=csv,noheader"])
    capabilities = _gpu_report.compute_capabilities(said.stdout)
    divided = any(gpu["mig"]["instances"] for gpu in described["gpus"])
    listed = _gpu_report.instances(ask(nvidia_smi, timeout, ["-L"]).stdout if divided else "")
    for gpu in described["gpus"]:
        gpu["compute_capability"] = capabilities.get(gpu["uuid"])
        for instance in gpu["mig"]["instances"]:
            known = listed.get((gpu["uuid"], instance["index"]))
            if known is not None:
                instance.update(profile=known.profile, uuid=known.uuid)
    return described


def count_refusal(gpus: list[dict[str, Any]], required: int) -> str | None:
    """Why this many GPUs cannot be had here, or None."""
    if len(gpus) >= required:
        return None
    return (
        f"{_counted(required)} asked for, and the host has {len(gpus)}: {_gpu_report.listing(gpus)}. "
        f"Ask for at most {len(gpus)} (the instance's 'gpus'), or, if there should be more, compare with 'lspci -d 10de:' and "
        "look for 'NVRM' and 'Xid' in 'dmesg'"
    )


def _counted(number: int) -> str:
    return "1 GPU is" if number == 1 else f"{number} GPUs are"


def _decode(data: bytes) -> str:
    return data[: _gpu_report.MAX_OUTPUT + 1].decode("utf-8", "replace")


def _split(output: str) -> tuple[str, str]:
    """The report, and what was written around it: warnings about a lost GPU share the standard output."""
    start = min(
        (at for at in (output.find("<?xml"), output.find("<!DOCTYPE"), output.find("<nvidia_smi_log")) if at >= 0),
        default=-1,
    )
    if start < 0:
        return "", output.strip()
    closing = "</nvidia_smi_log>"
    end = output.rfind(closing)
    end = len(output) if end < 0 else end + len(closing)
    return output[start:end], (output[:start] + output[end:]).strip()
