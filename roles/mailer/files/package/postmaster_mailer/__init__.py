# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pipeline for a product's own mail: taken in durably, signed, delivered by Postfix, every outcome told."""
