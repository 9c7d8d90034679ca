# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
#
# What the restricted list has on this host, as JSON; it changes nothing.
#   sh look.sh <folder of releases> <file of the secret> <user>
set -eu
releases=$(for one in "$1"/*/complete; do
  [ ! -e "$one" ] || printf '"%s",' "$(basename "${one%/complete}")"
done)
# One that others can read is as good as none: it is to be mended.
[ -s "$2" ] && [ "$(stat -c '%a %U' "$2")" = "600 $3" ] && secret=true || secret=false
getent passwd "$3" > /dev/null && user=true || user=false
printf '{"machine":"%s","current":"%s","releases":[%s],"secret":%s,"user":%s}\n' \
  "$(uname -m)" "$(basename "$(readlink "$1/current" || true)")" "${releases%,}" "$secret" "$user"
