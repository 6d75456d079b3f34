# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an instance as a person describes it to what a host runs: refusals, command line, environment, GPUs.

An engine is data (roles/inference/vars/engines); nothing here knows one by name. This module is the door to those that do the work.
"""

from __future__ import annotations

from ansible_collections.airgap.inference.plugins.module_utils._instance_expand import (
    assign_gpus,
    expand,
    model_names,
)
from ansible_collections.airgap.inference.plugins.module_utils._instance_options import drain, option_arguments
from ansible_collections.airgap.inference.plugins.module_utils._instance_plan import (
    command,
    environment,
    image_reference,
    plan,
)
from ansible_collections.airgap.inference.plugins.module_utils._instance_refusals import refusals

__all__ = [
    "assign_gpus",
    "command",
    "drain",
    "environment",
    "expand",
    "image_reference",
    "model_names",
    "option_arguments",
    "plan",
    "refusals",
]
