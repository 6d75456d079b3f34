# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.airgap.inference.plugins.plugin_utils._background import BackgroundAction


class ActionModule(BackgroundAction):
    """As the action plugins of the collection."""
