# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page that a person reads: a table a host, a paragraph a problem; and the same as data."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _preflight_host, _preflight_instance
from ansible_collections.airgap.inference.plugins.module_utils._placement_terms import named
from ansible_collections.airgap.inference.plugins.module_utils._preflight_problem import (
    STOPS,
    WARNS,
    WIDTH,
    Problem,
    paragraphs,
)

FITS, TIGHT, DOES_NOT_FIT, UNKNOWN = "fits", "tight", "does not fit", "unknown"
# Not for lack of room; and nobody could look.
CANNOT_WORK, NOT_REACHED = "cannot work", "not reached"
_VERDICTS = (FITS, TIGHT, UNKNOWN, DOES_NOT_FIT, CANNOT_WORK, NOT_REACHED)
_SAID = {DOES_NOT_FIT: "does not fit", CANNOT_WORK: "cannot work", TIGHT: "fits, tightly", UNKNOWN: "may fit or not"}
_GIB = 2**30
_COLUMNS = ("instance", "model", "GPUs", "weights GiB", "KV tokens", "concurrency", "verdict")
_RIGHT = ("weights GiB", "KV tokens", "concurrency")
_LONGEST = {"instance": 20, "model": 32, "GPUs": 10}
_PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
# Of an answer, what the document keeps for each instance.
_FIGURES = (
    "weights_bytes_per_gpu", "weights_estimated", "activation_bytes_per_gpu", "graph_bytes_per_gpu", "library_bytes_per_gpu",
    "kv_cache_memory_bytes", "kv_cache_bytes_per_token", "kv_cache_tokens", "max_concurrency", "max_model_len", "largest_max_model_len",
    "margin_bytes", "dtype", "kv_cache_dtype", "tensor_parallel_sizes",
)  # fmt: skip


def report(
    plan: Mapping[str, Any],
    answers: Sequence[Mapping[str, Any]] | None,
    why: str = "",
    site: str = "",
    created: str = "",
) -> dict[str, Any]:
    """Lines for people, a document for programs, and what stops a deploy in few words."""
    problems = [Problem.read(problem) for problem in plan["problems"]]
    hosts = []
    for host in plan["hosts"]:
        rows = [_row(row, host, answers, why) for row in host["rows"]]
        problems.extend(row["problem"] for row in rows if row["problem"] is not None)
        hosts.append({**host, "rows": rows})
    merged = Problem.merged(problems)
    stops = [problem for problem in merged if problem.level == STOPS]
    return {
        "lines": _lines(hosts, merged),
        "stops": [_short(problem) for problem in stops],
        "document": {
            "site": site,
            "created": created,
            "can_work": not stops,
            "hosts": [_document(host) for host in hosts],
            "problems": [problem.document() for problem in merged],
        },
    }


def _row(
    row: Mapping[str, Any], host: Mapping[str, Any], answers: Sequence[Mapping[str, Any]] | None, why: str
) -> dict[str, Any]:
    """One line of a host's table, with its problem."""
    reasons, topics = [*row["refused"], *row["unknown"]], ["instance"] * (len(row["refused"]) + len(row["unknown"]))
    verdict, answer = CANNOT_WORK if row["refused"] else UNKNOWN, {}
    remedies: list[str] = []
    if host["not_reached"]:
        return {**row, "verdict": NOT_REACHED, "answer": {}, "reasons": [], "remedies": [], "problem": None}
    if row["case"] is not None:
        found = answers[row["case"]] if answers is not None else {"error": why or "the depot gave no answer"}
        if found.get("error"):
            reasons.append(str(found["error"]))
            topics.append("model")
            verdict = CANNOT_WORK if row["refused"] or answers is not None else UNKNOWN
        else:
            answer = dict(found)
            verdict = UNKNOWN if row["unknown"] and found["verdict"] != DOES_NOT_FIT else found["verdict"]
            reasons.extend(found["reasons"])
            topics.extend(found["topics"])
            remedies = _remedies(found, host["instances"][row["position"]])
            at_most = answers[row["case_at_most"]] if answers is not None and row["case_at_most"] is not None else None
            verdict = _cautious(verdict, at_most, host, reasons)
    problem = None
    if verdict != FITS:
        instance = host["instances"][row["position"]]
        places = _preflight_instance.places(row["variable"], row["position"], instance, list(dict.fromkeys(topics)))
        problem = Problem(
            (host["host"],),
            row["instance"],
            STOPS if verdict in (DOES_NOT_FIT, CANNOT_WORK) else WARNS,
            [_placed(reason, host["gpus"]) for reason in reasons],
            places or [f"{row['variable']}[{row['position']}]"],
            remedies,
            f"{row['model']} {_SAID[verdict]}",
        )
    return {**row, "verdict": verdict, "answer": answer, "reasons": reasons, "remedies": remedies, "problem": problem}


def _remedies(answer: Mapping[str, Any], instance: Mapping[str, Any]) -> list[str]:
    """In the words of the inventory, where gpus is the number of all GPUs of an instance and has to agree with the parallel sizes."""
    told = []
    for text, change in zip(answer["remedies"], answer["changes"]):
        sizes = [change.get(key) for key in _PARALLEL]
        if any(sizes):
            number = 1
            for size in sizes:
                number *= size or 1
            text += f" (gpus {number} instead of {instance.get('gpus') or 0}, and the parallel sizes in options)"
        told.append(text)
    return told


def _cautious(verdict: str, at_most: Mapping[str, Any] | None, host: Mapping[str, Any], reasons: list[str]) -> str:
    """Where the stated name may mean GPUs of several sizes, the least was reckoned with: what fits there, fits."""
    if verdict == FITS or at_most is None:
        return verdict
    gpu = next(gpu for gpu in host["gpus"] if gpu.get("memories"))
    sizes = ", ".join(str(size) for size in gpu["memories"])
    more = f"reckoned with {gpu['memory_mib']} MiB, and {gpu.get('name')} are sold with {sizes} MiB"
    if verdict == DOES_NOT_FIT and at_most.get("verdict") == DOES_NOT_FIT:
        reasons.append(f"{more}; with the most it does not fit either")
        return verdict
    reasons.append(
        f"{more}; with the most the verdict is: {at_most.get('verdict') or UNKNOWN}. State gpu_host_expected.memory_mib"
    )
    return UNKNOWN if verdict == DOES_NOT_FIT else verdict


def _placed(reason: str, gpus: Sequence[Mapping[str, Any]]) -> str:
    """GPUs that a reason names are found by their UUIDs and slots; questions of like hosts were asked once, without them."""
    for gpu in gpus:
        short = named({key: gpu.get(key) for key in ("index", "name")})
        reason = reason.replace(f"{short} has", f"{named(gpu)} has").replace(
            f"{short} is promised", f"{named(gpu)} is promised"
        )
    return reason


def _lines(hosts: Sequence[Mapping[str, Any]], problems: Sequence[Problem]) -> list[str]:
    lines: list[str] = []
    tables = [[_cells(row) for row in host["rows"]] for host in hosts]
    widths = [
        max([len(column), *(len(cells[at]) for table in tables for cells in table)])
        for at, column in enumerate(_COLUMNS)
    ]
    for host, table in zip(hosts, tables):
        lines.extend(_heading(host))
        if table:
            lines.append(_line(_COLUMNS, widths))
            lines.extend(_line(cells, widths) for cells in table)
        else:
            lines.append("  no instances")
        lines.append("")
    lines.extend(_conclusion(hosts, problems))
    if problems:
        lines.append("")
        lines.extend(paragraphs(problems))
    return lines


def _heading(host: Mapping[str, Any]) -> list[str]:
    if host["not_reached"]:
        return [f"{host['host']}: not reached"]
    driver = f"driver {host['driver_version']}" if host["driver_version"] else ""
    gpus = "GPUs not known" if host["gpu_source"] == "not known" else _preflight_host.summary(host["gpus"])
    parts = [part for part in (host["system"], gpus, driver) if part]
    lines = [f"{host['host']}: {', '.join(parts)}".replace('"', "'")[:WIDTH]]
    if host["gpus"] and not driver:
        lines.append(f"  The GPUs are {host['gpu_source']}.")
    lines.extend(f"  {note}." for note in host["notes"])
    return [line[:WIDTH] for line in lines]


def _cells(row: Mapping[str, Any]) -> list[str]:
    answer = row["answer"]
    weights, tokens, many = (
        answer.get("weights_bytes_per_gpu"),
        answer.get("kv_cache_tokens"),
        answer.get("max_concurrency"),
    )
    cells = {
        "instance": row["instance"],
        "model": row["model"],
        "GPUs": _numbers(row["gpus"]),
        "weights GiB": "-"
        if weights is None
        else f"{'~' if answer.get('weights_estimated') else ''}{weights / _GIB:.1f}",
        "KV tokens": "-" if tokens is None else f"{tokens:,}",
        "concurrency": "-" if many is None else f"{many:.2f}x",
        "verdict": row["verdict"],
    }
    return [_cut(cells[column], _LONGEST.get(column, WIDTH)) for column in _COLUMNS]


def _numbers(gpus: Sequence[int]) -> str:
    """0-3 for four in a row, which GPUs of an instance are."""
    if not gpus:
        return "none"
    return str(gpus[0]) if len(gpus) == 1 else f"{gpus[0]}-{gpus[-1]}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = [
        cell.rjust(width) if column in _RIGHT else cell.ljust(width)
        for column, cell, width in zip(_COLUMNS, cells, widths)
    ]
    return ("  " + "  ".join(parts)).rstrip()


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 2] + ".."


def _conclusion(hosts: Sequence[Mapping[str, Any]], problems: Sequence[Problem]) -> list[str]:
    counts: dict[str, int] = {}
    for host in hosts:
        for row in host["rows"]:
            counts[row["verdict"]] = counts.get(row["verdict"], 0) + 1
    told = ", ".join(f"{verdict} {counts[verdict]}" for verdict in _VERDICTS if counts.get(verdict))
    total = sum(counts.values())
    stops = sum(problem.level == STOPS for problem in problems)
    warns = len(problems) - stops
    ends = [
        f"{stops} {'problem stops' if stops == 1 else 'problems stop'} a deploy" if stops else "nothing stops a deploy"
    ]
    ends.extend([f"{warns} worth knowing"] if warns else [])
    return [
        f"{len(hosts)} {'host' if len(hosts) == 1 else 'hosts'}, {total} {'instance' if total == 1 else 'instances'}"
        f"{f': {told}' if told else ''}; {', '.join(ends)}."
    ]


def _short(problem: Problem) -> str:
    hosts = ", ".join(problem.hosts[:3]) + (f" and {len(problem.hosts) - 3} more" if len(problem.hosts) > 3 else "")
    who = f"{hosts or 'the site'}{f': instance {problem.instance}' if problem.instance else ''}"
    return f"{who}: {_cut(problem.verdict or problem.what[0], 100)}".replace('"', "'")


def _document(host: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "host": host["host"],
        "not_reached": host["not_reached"],
        "system": host["system"],
        "driver_version": host["driver_version"],
        "gpus": host["gpus"],
        "gpu_source": host["gpu_source"],
        "instances": [
            {
                "instance": row["instance"],
                "model": row["model"],
                "gpus": row["gpus"],
                "verdict": row["verdict"],
                "reasons": row["reasons"],
                "remedies": row["remedies"],
                "changes": row["answer"].get("changes", []),
                "notes": row["answer"].get("notes", []),
                "not_checked": row.get("not_checked", ""),
                **{key: row["answer"].get(key) for key in _FIGURES},
            }
            for row in host["rows"]
        ],
    }
