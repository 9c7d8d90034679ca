# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
#
# Prints the secrets as JSON. Those that are absent are made ("make"), or foreseen ("look"), and named on standard error.
set -eu
umask 077
directory=/etc/mailman3/secrets
[ "$1" = look ] || mkdir -p "$directory"
printf '{'
comma=
for name in rest django archiver; do
    file=$directory/$name
    if [ ! -s "$file" ]; then
        echo "$name is new" >&2
        if [ "$1" = make ]; then
            head -c 36 /dev/urandom | base64 -w 0 | tr '+/' '-_' >"$file.new"
            mv "$file.new" "$file"
        fi
    fi
    printf '%s"%s": "%s"' "$comma" "$name" "$(cat "$file" 2>/dev/null || echo to-come)"
    comma=', '
done
printf '}\n'
