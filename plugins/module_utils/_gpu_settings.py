# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power limit and ECC of GPUs.

By nvidia-smi(1), a power limit lies between the Min and Max Power Limit and falls back to the default when the driver lets the
GPU go; a change of ECC mode takes effect after the next restart, or a reset, and stays.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils._driver_services import short
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._gpu_change import NEAR, Smi, label, select

_WORDS = {True: "enabled", False: "disabled"}


class Wanted(NamedTuple):
    """What is stated; None leaves a setting as it is."""

    power_limit_watts: float | None
    ecc: bool | None


class Outcome(NamedTuple):
    """What became of the GPUs."""

    gpus: list[dict[str, Any]]
    reasons: list[str]
    warnings: list[str]


def refusals(gpu: dict[str, Any], wanted: Wanted, check: bool) -> list[str]:
    """Why a GPU cannot be set so."""
    found = []
    if wanted.ecc is not None and gpu["ecc"]["mode"] is None:
        found.append(
            f"{label(gpu)}, {gpu['name']}, has no ECC that could be switched; leave it out of 'gpus', or leave 'ecc' out"
        )
    if wanted.power_limit_watts is None:
        return found
    power = gpu["power"]
    if None in (power["limit"], power["min_limit"], power["max_limit"]):
        found.append(f"{label(gpu)}, {gpu['name']}, has no power limit that could be set; leave it out of 'gpus'")
    elif not power["min_limit"] <= wanted.power_limit_watts <= power["max_limit"]:
        found.append(
            f"power_limit_watts is {wanted.power_limit_watts:g}, and {label(gpu)} takes {power['min_limit']:g} to {power['max_limit']:g} W "
            f"(its default is {power['default_limit'] or power['max_limit']:g})"
        )
    # In check mode, what switches persistence on may not have run.
    elif not gpu["persistence"] and not check:
        found.append(
            f"persistence is off on {label(gpu)}, so the driver would forget the power limit with the last program that closes the GPU. "
            "Start nvidia-persistenced (gpu_host does)"
        )
    return found


def lacking(gpu: dict[str, Any], wanted: Wanted) -> Wanted:
    """What of the wanted settings has still to be set; ECC that only waits for a restart has been."""
    limit, ecc = wanted
    if limit is not None and gpu["power"]["limit"] is not None and abs(gpu["power"]["limit"] - limit) < NEAR:
        limit = None
    if ecc is not None and gpu["ecc"]["pending"] == _WORDS[ecc]:
        ecc = None
    return Wanted(limit, ecc)


def commands(program: str, gpus: Sequence[dict[str, Any]], wanted: Wanted) -> list[list[str]]:
    """What sets again, after a restart of the host, what the driver forgets."""
    if wanted.power_limit_watts is None:
        return []
    return [[program, "-i", gpu["uuid"], "-pl", f"{wanted.power_limit_watts:g}"] for gpu in gpus]


def shown(gpu: dict[str, Any]) -> dict[str, Any]:
    return {"power_limit_watts": gpu["power"]["limit"], "ecc": gpu["ecc"]["mode"], "ecc_pending": gpu["ecc"]["pending"]}


def foretold(gpu: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    after = shown(gpu)
    if wanted.power_limit_watts is not None:
        after["power_limit_watts"] = wanted.power_limit_watts
    if wanted.ecc is not None:
        after["ecc_pending"] = _WORDS[wanted.ecc]
    return after


def set_ecc(smi: Smi, gpu: dict[str, Any], on: bool) -> str | None:
    """Switch ECC, with a reset where the GPU can be reset; the reason when it takes a restart."""
    if gpu["ecc"]["pending"] != _WORDS[on]:
        said = smi.say("-i", gpu["uuid"], "-e", str(int(on)))
        gpu = smi.gpu(gpu["uuid"])
        if said.rc != 0 or gpu["ecc"]["pending"] != _WORDS[on]:
            raise AirgapError(f"{label(gpu)}: ECC cannot be {_WORDS[on]}: nvidia-smi says '{short(said.text)}'")
    if gpu["ecc"]["mode"] == _WORDS[on]:
        return None
    reason = smi.reset(gpu)
    if reason is None and smi.gpu(gpu["uuid"])["ecc"]["mode"] == _WORDS[on]:
        return None
    return f"{label(gpu)}: ECC will be {_WORDS[on]} after a restart; {reason or 'a reset did not bring it'}"


def set_power(smi: Smi, gpu: dict[str, Any], watts: float) -> str | None:
    """Set the limit; a warning when another one stays in force."""
    said = smi.say("-i", gpu["uuid"], "-pl", f"{watts:g}")
    if said.rc != 0:
        raise AirgapError(
            f"{label(gpu)}: the power limit cannot be set to {watts:g} W: nvidia-smi says '{short(said.text)}'"
        )
    now = smi.gpu(gpu["uuid"])["power"]["limit"]
    if now is not None and abs(now - watts) < NEAR:
        return None
    return (
        f"{label(gpu)}: power_limit_watts is {watts:g}, and the limit in force is {now if now is None else format(now, 'g')} W. "
        "Something else limits the GPU, such as the machine's management controller"
    )


def apply(
    smi: Smi, everything: Sequence[dict[str, Any]], chosen: Sequence[str], wanted: Wanted, outcome: Outcome
) -> None:
    """ECC of all GPUs first: each reset puts power limits back, and not only those of its own GPU."""
    before = now = {gpu["uuid"]: gpu for gpu in everything}
    try:
        differing = [
            before[uuid]
            for uuid in chosen
            if wanted.ecc is not None
            and {before[uuid]["ecc"]["mode"], before[uuid]["ecc"]["pending"]} != {_WORDS[wanted.ecc]}
        ]
        if differing:
            with smi.limits_kept(everything):
                for gpu in differing:
                    reason = set_ecc(smi, gpu, bool(wanted.ecc))
                    outcome.reasons.extend([reason] if reason else [])
            now = {gpu["uuid"]: gpu for gpu in smi.gpus()}
        for uuid in chosen:
            if lacking(now[uuid], wanted).power_limit_watts is not None:
                warning = set_power(smi, now[uuid], wanted.power_limit_watts or 0.0)
                outcome.warnings.extend([warning] if warning else [])
    finally:
        with contextlib.suppress(AirgapError):
            now = {gpu["uuid"]: gpu for gpu in smi.gpus()}
        outcome.gpus.extend(
            _result(before[uuid], shown(now[uuid]))
            for uuid in chosen
            if uuid in now and shown(now[uuid]) != shown(before[uuid])
        )


def converge(smi: Smi, names: Sequence[str], wanted: Wanted, check: bool, outcome: Outcome) -> dict[str, Any]:
    """Set the GPUs; `outcome` gains what happened to each, so that it is known after a failure too."""
    everything = smi.gpus()
    gpus = select(everything, names, "gpus")
    refused = [reason for gpu in gpus for reason in refusals(gpu, wanted, check)]
    if refused:
        raise AirgapError("; ".join(refused))
    if check:
        differing = [gpu for gpu in gpus if lacking(gpu, wanted) != Wanted(None, None)]
        outcome.gpus.extend(_result(gpu, foretold(gpu, wanted)) for gpu in differing)
    else:
        apply(smi, everything, [gpu["uuid"] for gpu in gpus], wanted, outcome)
    return {
        "changed": bool(outcome.gpus),
        "gpus": outcome.gpus,
        "reboot_required": bool(outcome.reasons),
        "reasons": outcome.reasons,
        "commands": commands(smi.program, gpus, wanted),
        "diff": {side: "".join(_line(gpu, side) for gpu in outcome.gpus) for side in ("before", "after")},
    }


def _result(gpu: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {"index": gpu["index"], "uuid": gpu["uuid"], "before": shown(gpu), "after": after}


def _line(gpu: dict[str, Any], side: str) -> str:
    shown = gpu[side]
    limit, ecc, pending = shown["power_limit_watts"], shown["ecc"], shown["ecc_pending"]
    waits = f" ({pending} after a restart)" if pending != ecc else ""
    return f"GPU {gpu['index']} ({gpu['uuid']}): power limit {limit} W, ECC {ecc or 'none'}{waits}\n"
