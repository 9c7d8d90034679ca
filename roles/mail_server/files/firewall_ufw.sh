#!/bin/sh
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Arguments: <ports with commas, empty for none> <yes where nothing is to be changed>. Has ufw let these in, by one rule that is known by
# its comment, and run. Rules of others stay. Says what it did, or would do; nothing where all is well.
ports=$1 dry=${2:-no} comment=mail_server
act() {
    echo "$*"
    [ "$dry" = yes ] || "$@" >/dev/null || exit 1
}
known=$(ufw show added 2>/dev/null | sed -n "s/^ufw allow \(.*\)\/tcp comment '$comment'$/\1/p")
found=no
for old in $known; do
    if [ "$old" = "$ports" ]; then found=yes; fi
done
# First the new one, so that no port is shut meanwhile that stays open.
if [ -n "$ports" ] && [ $found = no ]; then act ufw allow "$ports/tcp" comment "$comment"; fi
for old in $known; do
    if [ "$old" != "$ports" ]; then act ufw delete allow "$old/tcp"; fi
done
if [ -n "$ports" ] && ! ufw status | grep -q '^Status: active'; then act ufw --force enable; fi
