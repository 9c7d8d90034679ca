# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
#
# What the mailer has on this host, as JSON; it changes nothing.
#   sh look.sh <folder of releases> <folder of secrets> <drop-in for the resolver of MTA-STS>
# The password of Redis is told by its digest, which Redis's own configuration holds.
set -eu
units=$(systemctl list-units --all --plain --no-legend 'postmaster-mailer-*@*.service' | while read -r unit rest; do
  printf '"%s",' "$unit"
done)
releases=$(for one in "$1"/*/complete; do
  [ ! -e "$one" ] || printf '"%s",' "$(basename "${one%/complete}")"
done)
# One that others can read is as good as none: it is to be mended.
has() { [ -s "$2/$1" ] && [ "$(stat -c '%a %U' "$2/$1")" = '600 root' ]; }
digest=
! has redis.password "$2" || digest=$(tr -d '\n' < "$2/redis.password" | sha256sum | cut -d ' ' -f 1)
has return-path.secret "$2" && secret=true || secret=false
getent passwd postmaster-mailer-transformer > /dev/null && users=true || users=false
[ -e "$3" ] && sts=true || sts=false
printf '{"machine":"%s","current":"%s","releases":[%s],"units":[%s],"redis_digest":"%s","secret":%s,"users":%s,"mta_sts":%s}\n' \
  "$(uname -m)" "$(basename "$(readlink "$1/current" || true)")" "${releases%,}" "${units%,}" "$digest" "$secret" "$users" "$sts"
