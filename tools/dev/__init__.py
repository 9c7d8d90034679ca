# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the script ``dev`` starts. The standard library alone, as nothing is installed yet."""
