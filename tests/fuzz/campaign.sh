#!/bin/bash
# A fuzzing campaign: campaign.sh BUILD [SECONDS [TARGET...]], SECONDS for each target (60), all targets
# one after the other. What it finds is minimised and kept as tests/fuzz/corpus/TARGET/regress-NAME, where
# the replay fails until the code is mended; inputs that reach something new are merged into the corpus
# (a set cover, at most MERGE_MOST files a campaign and target). The grown corpus stays in
# BUILD/campaign/TARGET for the next campaign. Exit status 1 when a target found something.
set -euo pipefail
build=$(realpath "$1")
seconds=${2:-60}
shift $(($# < 2 ? $# : 2))
here=$(realpath "$(dirname "$0")")
merge_most=${MERGE_MOST:-40}
targets=("$@")
if [[ ${#targets[@]} -eq 0 ]]; then
    for source in "$here"/fuzz_*.c; do
        name=$(basename "$source" .c)
        targets+=("${name#fuzz_}")
    done
fi
# Undefined behaviour ends a run as a bad access does.
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
limits=(-rss_limit_mb=4096 -timeout=20 -verbosity=0)

# The smallest input that still fails, into the corpus. A leak or a timeout is kept as it is.
keep_find() {
    local target=$1 found=$2 kept
    kept=$here/corpus/$target/regress-$(sha1sum "$found" | cut -c1-8)
    [[ -e $kept ]] && return
    cp "$found" "$kept"
    if [[ $(basename "$found") == crash-* ]]; then
        "$program" "${limits[@]}" -minimize_crash=1 -max_total_time=60 -exact_artifact_path="$kept" "$found" \
            >"$work/minimize.log" 2>&1 || true
    fi
    echo "fuzz: $target: kept as ${kept#"$here/"}, $(stat -c %s "$kept") bytes"
}

# What reaches something that the corpus does not, as few files as will do.
merge_corpus() {
    local target=$1 count=0 file
    rm -rf "$work/merged"
    mkdir -p "$work/merged"
    "$program" "${limits[@]}" -set_cover_merge=1 "$work/merged" "$here/corpus/$target" "$work/corpus" \
        >"$work/merge.log" 2>&1 || return 0
    for file in "$work/merged"/*; do
        if [[ ! -e $file ]] || grep -qsx "$(sha1sum <"$file")" "$work/known"; then continue; fi
        [[ $count -lt $merge_most ]] || break
        count=$((count + 1))
        cp "$file" "$here/corpus/$target/$(basename "$file" | cut -c1-12)"
    done
    echo "fuzz: $target: $count inputs merged into the corpus"
}

failed=0
for target in "${targets[@]}"; do
    program=$build/tests/fuzz/fuzz_$target
    if [[ ! -x $program ]]; then
        echo "fuzz: no target $target: each is a tests/fuzz/fuzz_TARGET.c" >&2
        exit 2
    fi
    work=$build/campaign/$target
    mkdir -p "$work/corpus" "$here/corpus/$target"
    rm -f "$work"/crash-* "$work"/timeout-* "$work"/oom-* "$work"/leak-*
    for file in "$here/corpus/$target"/*; do
        if [[ -e $file ]]; then sha1sum <"$file"; fi
    done >"$work/known"
    echo "fuzz: $target, $seconds s"
    if ! "$program" "${limits[@]}" -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="$work/" \
        "$work/corpus" "$here/corpus/$target" >"$work/log" 2>&1; then
        echo "fuzz: $target FOUND SOMETHING: see $work"
        tail -n 40 "$work/log"
        failed=1
        for found in "$work"/{crash,timeout,oom,leak}-*; do
            if [[ -e $found ]]; then keep_find "$target" "$found"; fi
        done
    fi
    grep -E 'number_of_executed_units|new_units_added' "$work/log" || true
    grep -oE 'cov: [0-9]+ ft: [0-9]+' "$work/log" | tail -n 1 || true
    merge_corpus "$target"
done
exit $failed
