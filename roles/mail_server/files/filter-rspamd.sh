#!/bin/sh
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Stands between OpenSMTPD 7.4 and filter-rspamd 0.1.7 of Debian 12. The one says who logged in as result|name, the other
# expects name|result, knows no user then, and ends where the name holds a bar.
directory=${FILTER_DIRECTORY:-/usr/libexec/opensmtpd}
mawk -W interactive '
    BEGIN { FS = OFS = "|" }
    $1 == "report" && $5 == "link-auth" && $2 + 0 >= 0.7 {
        name = $8
        for (i = 9; i <= NF; i++) name = name "_" $i
        print $1, $2, $3, $4, $5, $6, name, $7
        next
    }
    { print }
' | "$directory/filter-rspamd"
