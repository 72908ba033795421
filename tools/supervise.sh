#!/usr/bin/env bash
# Start a command again when it dies: bash tools/supervise.sh TRIES SECONDS COMMAND ...
#
#     bash tools/supervise.sh 5 60 python -m paddle.distributed.launch --nproc_per_node=2 \
#         tools/train.py -c YAML -o Global.checkpoints=auto
#
# At most TRIES starts, SECONDS apart. Not again after 0 (done), 2 (an error that is the user's to fix), 15 and
# 130 (the launcher or the tool was asked to stop). Ctrl-C and SIGTERM are passed on as SIGTERM, which lets a
# training run save, and are the end of it.

if ! [[ $# -ge 3 && $1 =~ ^[1-9][0-9]*$ && $2 =~ ^[0-9]+$ ]]; then
    echo "usage: supervise.sh TRIES SECONDS COMMAND ..., for example supervise.sh 5 60 python tools/train.py -c YAML" >&2
    exit 2
fi
tries=$1 pause=$2 stopped=
shift 2

run() {
    "$@" &
    child=$!
    wait "$child"
    code=$?
    while kill -0 "$child" 2>/dev/null; do # a signal has ended `wait`, not the command
        wait "$child"
        code=$?
    done
    return "$code"
}

trap 'stopped=yes; kill -TERM "$child" 2>/dev/null' INT TERM
for ((try = 1; ; try++)); do
    run "$@" && exit 0
    [[ $stopped || $code == 2 || $code == 15 || $code == 130 ]] && exit "$code"
    if ((try == tries)); then
        echo "supervise: exit code $code, try $try of $tries: giving up" >&2
        exit "$code"
    fi
    echo "supervise: exit code $code, try $try of $tries: again in $pause s" >&2
    run sleep "$pause"
    [[ $stopped ]] && exit "$code"
done
