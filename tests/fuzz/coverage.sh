#!/bin/bash
# What the corpora reach: coverage.sh BUILD [TARGET...], BUILD made with clang's coverage. Prints the
# files they enter, with the part of lines and branches reached; with --html first, also writes
# BUILD/coverage/index.html. All targets by default, their reach taken together.
set -euo pipefail
html=false
if [[ ${1:-} == --html ]]; then
    html=true
    shift
fi
build=$(realpath "$1")
shift
here=$(realpath "$(dirname "$0")")
root=$(realpath "$here/../..")
targets=("$@")
if [[ ${#targets[@]} -eq 0 ]]; then
    for program in "$build"/tests/fuzz/replay_*; do
        [[ -x $program && -f $program ]] && targets+=("$(basename "$program" | sed s/replay_//)")
    done
fi
out=$build/coverage
rm -rf "$out"
mkdir -p "$out"
objects=()
for target in "${targets[@]}"; do
    program=$build/tests/fuzz/replay_$target
    LLVM_PROFILE_FILE=$out/$target.profraw "$program" "$here/corpus/$target" >"$out/$target.log" 2>&1 ||
        { echo "coverage: $target fails on its corpus: see $out/$target.log" >&2; exit 1; }
    objects+=("${objects[@]:+-object}" "$program")
done
llvm-profdata-14 merge -o "$out/all.profdata" "$out"/*.profraw
common=(-instr-profile="$out/all.profdata" -ignore-filename-regex='(^|/)tests/|/usr/' "${objects[@]}")
# Files that no target enters are of no interest here.
llvm-cov-14 report "${common[@]}" | awk '
    NF == 13 && $10 ~ /[1-9].*%/ { printf "%-40s %6d lines %8s %6d branches %8s\n", $1, $8, $10, $11, $13 }' |
    sed "s|^$root/||" | tee "$out/report"
if $html; then
    llvm-cov-14 show "${common[@]}" -format=html -show-branches=count -output-dir="$out" >/dev/null
    echo "coverage: $out/index.html"
fi
