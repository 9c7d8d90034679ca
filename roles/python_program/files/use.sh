# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
#
# Makes a release the one in use, and removes all others but the one that was.
#   sh use.sh <folder of releases> <release>
set -eu
cd "$1"
before=$(basename "$(readlink current || true)")
[ "$before" = "$2" ] && before=$(cat previous 2> /dev/null || true)
echo "$before" > previous
ln -sfn "$2" .current.new
mv -T .current.new current
for one in */; do
  one=${one%/}
  case $one in current | "$2" | "$before") continue ;; esac
  rm -rf "$one"
done
rm -f ./*.tar
