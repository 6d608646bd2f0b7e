#!/bin/bash
# Install what packages.list names. Touches nothing, apt's lists included, when all of it is there.
set -euo pipefail

list=$(dirname "$0")/../packages.list
apt=(apt-get -q -y -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0)

# True when the package is installed, and from backports where that was asked for.
have() {
    local name=${1%/*} suite="" state version
    [[ $1 == */* ]] && suite=${1#*/}
    read -r state version < <(dpkg-query -W -f '${db:Status-Abbrev} ${Version}\n' "$name" 2>/dev/null) || return 1
    [[ $state == ii ]] && [[ $suite != *-backports || $version == *~bpo* ]]
}

# Adds a suite with the URI and the key which the machine's own Debian sources already use.
add_suite() {
    local suite=$1 target=/etc/apt/sources.list.d/vmm-appliance-$1.sources
    grep -qsE "^(Suites:|deb ).*\b$suite\b" /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} && return
    /usr/bin/python3 "$(dirname "$0")/apt_source.py" --stanza "$suite" >"$target.new"
    mv "$target.new" "$target"
    echo "packages: added $target"
}

missing=()
while read -r name _; do
    [[ -z $name || $name == \#* ]] && continue
    have "$name" || missing+=("$name")
done <"$list"
[[ ${#missing[@]} -eq 0 ]] && exit 0

echo "packages: to be installed: ${missing[*]}"
if [[ $(id -u) != 0 ]]; then
    echo "packages: not root: install them, or run this as root once" >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
# A minimal Debian has no Python, which apt_source.py needs.
if [[ ! -x /usr/bin/python3 ]]; then
    "${apt[@]}" update </dev/null
    "${apt[@]}" install --no-install-recommends python3 </dev/null
fi
for name in "${missing[@]}"; do
    if [[ $name == */* ]]; then add_suite "${name#*/}"; fi
done

# Daemons among them (openvswitch) are for tests to start, not for their packages.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
"${apt[@]}" update </dev/null
# Debian 12's own first: "name/suite" prefers that suite for dependencies too, and a newer
# library from there would then stand in the way of its Debian 12 -dev package.
own=() other=()
for name in "${missing[@]}"; do
    if [[ $name == */* ]]; then other+=("$name"); else own+=("$name"); fi
done
for group in own other; do
    declare -n names=$group
    [[ ${#names[@]} -eq 0 ]] || "${apt[@]}" install --no-install-recommends "${names[@]}" </dev/null
done
