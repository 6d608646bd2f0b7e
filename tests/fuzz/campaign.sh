#!/bin/bash
# A fuzzing campaign: campaign.sh BUILD [SECONDS [TARGET...]], SECONDS for each target (60), all targets
# one after the other. What is found and the grown corpus stay in BUILD/campaign/TARGET. Exit status 1
# when a target found something.
set -euo pipefail
build=$(realpath "$1")
seconds=${2:-60}
shift $(($# < 2 ? $# : 2))
here=$(realpath "$(dirname "$0")")
targets=("$@")
if [[ ${#targets[@]} -eq 0 ]]; then
    for source in "$here"/fuzz_*.c; do
        name=$(basename "$source" .c)
        targets+=("${name#fuzz_}")
    done
fi

failed=0
for target in "${targets[@]}"; do
    program=$build/tests/fuzz/fuzz_$target
    if [[ ! -x $program ]]; then
        echo "fuzz: no target $target: each is a tests/fuzz/fuzz_TARGET.c" >&2
        exit 2
    fi
    work=$build/campaign/$target
    mkdir -p "$work/corpus"
    echo "fuzz: $target, $seconds s"
    if ! "$program" -max_total_time="$seconds" -rss_limit_mb=4096 -timeout=20 -verbosity=0 -print_final_stats=1 \
        -artifact_prefix="$work/" "$work/corpus" "$here/corpus/$target" >"$work/log" 2>&1; then
        echo "fuzz: $target FOUND SOMETHING: see $work"
        tail -n 40 "$work/log"
        failed=1
    fi
    grep -E 'number_of_executed_units|new_units_added' "$work/log" || true
done
exit $failed
