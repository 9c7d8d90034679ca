# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What the mailer has on this host, as JSON; it changes nothing.
#   sh look.sh <folder of releases> <folder of secrets>
# The password of Redis is told by its digest, which Redis's own configuration holds.
set -eu
units=$(systemctl list-units --all --plain --no-legend 'postmaster-mailer-*@*.service' | while read -r unit rest; do
  printf '"%s",' "$unit"
done)
releases=$(for one in "$1"/*/complete; do
  [ ! -e "$one" ] || printf '"%s",' "$(basename "${one%/complete}")"
done)
digest=
[ ! -s "$2/redis.password" ] || digest=$(tr -d '\n' < "$2/redis.password" | sha256sum | cut -d ' ' -f 1)
[ -s "$2/return-path.secret" ] && secret=true || secret=false
getent passwd postmaster-mailer-transformer > /dev/null && users=true || users=false
printf '{"machine":"%s","current":"%s","releases":[%s],"units":[%s],"redis_digest":"%s","secret":%s,"users":%s}\n' \
  "$(uname -m)" "$(basename "$(readlink "$1/current" || true)")" "${releases%,}" "${units%,}" "$digest" "$secret" "$users"
