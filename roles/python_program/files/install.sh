# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
#
# Makes a release of a program from its archive, beside those that are there. What runs does not notice.
#   sh install.sh <folder of releases> <release> <archive> [<index>]
# With an index what it needs is fetched from there, else it comes with the archive. PIP_INDEX_URL may hold a password,
# so the index stands in the environment and the word says only that there is one.
set -eu
umask 022
release=$1/$2
rm -rf "$release"
mkdir -p "$release"
tar -xf "$3" -C "$release"
python3 -m venv "$release/venv"
if [ "${4:-}" = index ]; then
  set --
else
  set -- --no-index "--find-links=$release/wheels"
fi
PIP_CONFIG_FILE=/dev/null "$release/venv/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir \
  --require-hashes --only-binary=:all: "$@" --requirement="$release/requirements.txt"
for folder in "$release"/venv/lib/python3*/site-packages; do
  echo "$release/package" > "$folder/program.pth"
done
"$release/venv/bin/python" -m compileall -q "$release/package"
rm -rf "$release/wheels"
: > "$release/complete"
sync -f "$release"
