#!/bin/sh
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Says what a firewall must know of this host, a line each: "ssh PORT" for each port by which it is reached, "ufw active",
# "table loaded" where the role's own table is.
{
    # The port of the connection that asks, which is not always one that sshd knows of.
    # shellcheck disable=SC2086
    set -- ${SSH_CONNECTION:-}
    [ -z "${4:-}" ] || echo "$4"
    sshd -T 2>/dev/null | sed -n 's/^port //p'
    # Where systemd listens for sshd.
    if systemctl is-active -q ssh.socket; then
        systemctl show ssh.socket -p Listen | sed -n 's/^Listen=.*:\([0-9][0-9]*\) (Stream)$/\1/p'
    fi
} | sort -un | sed 's/^/ssh /'
if ufw status 2>/dev/null | grep -q '^Status: active'; then echo ufw active; fi
if nft list table inet postmaster_mail >/dev/null 2>&1; then echo table loaded; fi
