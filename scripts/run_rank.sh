#!/bin/sh
# Runs one process of a job for its launcher: run_rank.sh SCRIPT ARGUMENT…
# launch_functions.sh starts it; or msrun does, which finds it under the name `python`. It writes the log, hands SIGTERM
# on and leaves the exit status in the state folder of the job.
set -u
# shellcheck source=launch_functions.sh
. "$(dirname -- "$(readlink -f -- "$0")")/launch_functions.sh"
state=${POSE_LAUNCH:?is set by launch_functions.sh}
IFS= read -r python <"$state/interpreter"
# From here on `python` is Python again.
PATH=${PATH#"$state/bin:"}
if [ "${MS_ROLE:-}" = MS_SCHED ]; then
    exec "$python" -u "$@"
fi
rank=${RANK_ID:-0}
exec </dev/null >>"$state/log.$rank" 2>&1
catch_stop
echo $$ >"$state/pid.$rank"
run_to_end "$python" -u "$@"
status=$?
echo "$rank $status" >>"$state/ended"
exit "$status"
