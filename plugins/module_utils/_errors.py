# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error that this collection's own code raises.

A module turns it into its failure message, so its text is written for the person who runs the playbook:
what is wrong, where, the value seen, and the remedy.
"""

from __future__ import annotations


class AirgapError(Exception):
    """Something is wrong that a person can put right; the text says how."""
