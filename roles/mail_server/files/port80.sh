#!/bin/sh
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Lets the world reach port 80 for a moment, as an ACME server does that asks whether a name is yours: port80 open, and
# port80 close. Where nothing shuts the port there is nothing to do. What is not closed again is closed by itself
# after ten minutes (nftables), or by the next "close" (ufw).
table="inet postmaster_mail" comment="mail_server for a moment"
case ${1:-} in
open | close) ;;
*)
    echo "usage: $0 open|close" >&2
    exit 2
    ;;
esac
if nft list table "$table" >/dev/null 2>&1; then
    nft delete element "$table" for_a_moment '{ 80 }' 2>/dev/null
    [ "$1" = close ] || nft add element "$table" for_a_moment '{ 80 timeout 10m }' || exit 1
fi
if ufw status 2>/dev/null | grep -q '^Status: active'; then
    if [ "$1" = open ]; then
        # A rule that others made for the same port stays as it is, and ufw makes no second one.
        ufw show added | grep -q '^ufw allow 80/tcp' || ufw allow 80/tcp comment "$comment" >/dev/null || exit 1
    elif ufw show added | grep -q "^ufw allow 80/tcp comment '$comment'\$"; then
        ufw delete allow 80/tcp >/dev/null || exit 1
    fi
fi
exit 0
