# shellcheck shell=sh
# What the launch scripts share: reading their arguments, starting a job of one or several processes, watching it.
#
# A job has a supervisor (the script itself, or its copy in the background) and one process per rank, each inside
# run_rank.sh, which writes the log and leaves the exit status. Without a rank table MindSpore's msrun starts the ranks.
# Every process of a job carries POSE_LAUNCH=<state folder of the job> in its environment, which is how none is missed
# at the end. The state folder lies in TMPDIR and holds
#     interpreter       path of the Python to use
#     ranks             lines "RANK DEVICE_ID"
#     log.RANK          link to the log
#     pid.RANK          process id of run_rank.sh
#     ended             lines "RANK STATUS" in the order of the ends
#     alive             a pipe that the supervisor holds open; its end tells the watchdog that the supervisor is gone
#     finished          is there when the supervisor has come to its end by itself
#
# A user's environment: DEVICE_TARGET (Ascend, GPU or CPU; else train.py and eval.py choose), PYTHON (the interpreter),
# STOP_SECONDS (how long a stopped job may take to save, 120), SERVER_ID (which server of a rank table this is, by
# position or by server_id), MASTER_PORT (of msrun; else a free one).

root=$(cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd)
# shellcheck source=common_functions.sh
. "$root/scripts/common_functions.sh"
usage=''
grace_seconds=10

# --- Errors and arguments

fail() { # WORD…
    echo "error: $*" >&2
    exit 2
}

usage_error() { # [WORD…]; the script has set $usage
    [ $# -eq 0 ] || echo "error: $*" >&2
    echo "usage: $(basename -- "$0") $usage" >&2
    exit 2
}

is_number() { # TEXT
    case $1 in
        '' | *[!0-9]* | ?????????*) return 1 ;;
    esac
}

# Reads the words in front of `--`: sets word_1 to word_4, word_count, foreground, and taken, what to shift by.
# shellcheck disable=SC2034  # the scripts use them
read_words() { # WORD…
    word_1='' word_2='' word_3='' word_4='' word_count=0 foreground='' taken=0
    while [ $# -gt 0 ]; do
        taken=$((taken + 1))
        case $1 in
            --) return ;;
            --foreground) foreground=yes ;;
            -*) usage_error "unknown option $1 (flags for the Python script go behind --)" ;;
            *)
                word_count=$((word_count + 1))
                case $word_count in
                    1) word_1=$1 ;;
                    2) word_2=$1 ;;
                    3) word_3=$1 ;;
                    4) word_4=$1 ;;
                    *) usage_error "too many arguments: $1" ;;
                esac
                ;;
        esac
        shift
    done
}

# Reads flags such as --data_path=COCO in front of `--` into variables of the same name; sets taken.
read_flags() { # "NAME NAME…" WORD…
    names=" $1 " taken=0
    shift
    while [ $# -gt 0 ]; do
        taken=$((taken + 1))
        case $1 in
            --) return ;;
            --*=*)
                name=${1%%=*}
                name=${name#--}
                case $names in
                    *" $name "*) eval "$name=\${1#*=}" ;;
                    *) usage_error "unknown flag --$name (flags for train.py go behind --)" ;;
                esac
                ;;
            *) usage_error "$1 should be --name=value (flags for train.py go behind --)" ;;
        esac
        shift
    done
}

check_word_count() { # LEAST MOST
    [ "$word_count" -ge "$1" ] && [ "$word_count" -le "$2" ] || usage_error
}

check_number() { # NAME VALUE [LEAST]
    is_number "$2" && [ "$2" -ge "${3:-0}" ] || usage_error "$1 should be a whole number from ${3:-0}, is '$2'"
}

check_folder() { # FLAG PATH
    [ -n "$2" ] || usage_error "$1 is missing"
    [ -d "$2" ] || fail "$1: the folder $2 is not there"
}

make_folder() { # PATH
    mkdir -p -- "$1" 2>/dev/null && [ -w "$1" ] || fail "cannot make or write the folder $1"
}

# Sets target (may be empty), python and stop_seconds.
read_environment() {
    target=${DEVICE_TARGET:-}
    case $target in
        auto) target='' ;;
        '' | Ascend | GPU | CPU) ;;
        *) fail "DEVICE_TARGET=$target should be Ascend, GPU, CPU or auto" ;;
    esac
    python=${PYTHON:-$(command -v python || command -v python3)}
    command -v -- "$python" >/dev/null || fail "no Python found at '$python'; choose one with PYTHON=/path/to/python"
    case $python in
        # Without following links: a virtual environment is known by the path of its python.
        */*) python=$(cd -- "$(dirname -- "$python")" && pwd)/$(basename -- "$python") ;;
    esac
    stop_seconds=${STOP_SECONDS:-120}
    is_number "$stop_seconds" || fail "STOP_SECONDS=$stop_seconds should be a whole number"
    for tool in setsid mkfifo; do
        command -v "$tool" >/dev/null || fail "the command $tool is missing (packages util-linux and coreutils)"
    done
}

# --- Processes

is_alive() { # PID; a zombie is not
    process_state=''
    { read -r process_state <"/proc/$1/stat"; } 2>/dev/null || return 1
    case ${process_state##*) } in
        Z* | X*) return 1 ;;
    esac
}

# Waits a little, longer once the job has run for some seconds; a signal ends the wait. bash would run the trap only
# after a `sleep` in the foreground, and forgets a SIGINT that comes while it takes the end of one.
nap() {
    naps=$((${naps:-0} + 1))
    if [ "$naps" -le 50 ]; then nap_seconds=0.1; else nap_seconds=0.5; fi
    sleep "$nap_seconds" >/dev/null 2>&1 9>&- &
    wait "$!" || kill "$!" 2>/dev/null
}

# Sets deadline.
set_deadline() { # SECONDS from now
    read_clock
    deadline=$((now + $1))
}

# The clock shows whole seconds: at the moment itself the last of them has only begun.
is_past_deadline() {
    read_clock
    [ "$now" -gt "$deadline" ]
}

# From here on a signal to stop sets interrupted and is handed on, once, as SIGTERM, to the command of run_to_end.
catch_stop() {
    child='' interrupted='' came_early=''
    trap 'interrupted=yes
        if [ -n "$child" ]; then kill -TERM "$child" 2>/dev/null; else came_early=yes; fi' HUP INT TERM
}

# Runs a command to its end and returns its status.
run_to_end() { # COMMAND…
    [ -z "$interrupted" ] || return 143
    "$@" &
    child=$!
    [ -z "$came_early" ] || kill -TERM "$child" 2>/dev/null
    wait "$child"
    child_status=$?
    # A signal ends the wait, not the command.
    while kill -0 "$child" 2>/dev/null; do
        wait "$child"
        child_status=$?
    done
    if [ -n "$interrupted" ]; then
        # bash may have seen the end of the command while it left the wait; 127: the status is known already.
        wait "$child" 2>/dev/null
        last_status=$?
        [ "$last_status" -eq 127 ] || child_status=$last_status
    fi
    child=''
    return "$child_status"
}

# What a job inherits must not make it part of another one. MindSpore reads the first row for a rank table, MS_… for
# msrun's jobs, the next two for mpirun's.
clean_environment() {
    unset RANK_TABLE_FILE MINDSPORE_HCCL_CONFIG_PATH HELP_CLUSTER RANK_ID RANK_SIZE DEVICE_ID ASCEND_DEVICE_ID \
        LOCAL_RANK LOCAL_RANK_SIZE MS_ROLE MS_WORKER_NUM MS_SERVER_NUM MS_SCHED_HOST MS_SCHED_PORT MS_NODE_ID \
        MS_NODE_RANK MS_TOPO_TIMEOUT OMPI_COMMAND PMIX_RANK POSE_LAUNCH OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_RANK \
        OMPI_COMM_WORLD_LOCAL_RANK OMPI_COMM_WORLD_LOCAL_SIZE
}

kill_leftovers() {
    rounds=50
    while [ "$rounds" -gt 0 ]; do
        leftovers=$(grep -lsxzF "POSE_LAUNCH=$state" /proc/[0-9]*/environ | tr -cd '0-9\n')
        [ -n "$leftovers" ] || return 0
        # shellcheck disable=SC2086  # one word per process
        kill -KILL $leftovers 2>/dev/null
        sleep 0.1
        rounds=$((rounds - 1))
    done
}

read_pid() { # RANK; sets pid, fails before the rank has started
    pid=''
    { read -r pid <"$state/pid.$1"; } 2>/dev/null && [ -n "$pid" ]
}

# Sends SIGTERM to every rank that has started, once.
terminate_ranks() {
    for rank in $ranks; do
        case $told in
            *" $rank "*) continue ;;
        esac
        if read_pid "$rank"; then
            kill -TERM "$pid" 2>/dev/null
            told="$told$rank "
        fi
    done
}

any_rank_is_alive() {
    for rank in $ranks; do
        ! read_pid "$rank" || ! is_alive "$pid" || return 0
    done
    return 1
}

# Ends what still runs: SIGTERM to the ranks, and SIGKILL to everything after so many seconds.
end_job() { # SECONDS
    set_deadline "$1"
    terminate_ranks
    while any_rank_is_alive && ! is_past_deadline; do
        nap
        terminate_ranks
    done
    kill_leftovers
}

# --- Preparing a job

make_state() {
    clean_environment
    state=$(mktemp -d "${TMPDIR:-/tmp}/pose_launch.XXXXXX") || fail "no temporary folder in ${TMPDIR:-/tmp}"
    trap 'rm -rf "$state"' EXIT
    trap 'exit 143' HUP INT TERM
    printf '%s\n' "$python" >"$state/interpreter"
    : >"$state/ended"
    told=' '
}

# Puts an earlier log aside and starts a new one.
prepare_log() { # RANK PATH_WITHOUT_TXT
    [ ! -e "$2.txt" ] || mv -f -- "$2.txt" "$2.old.txt"
    : >"$2.txt" || fail "cannot write $2.txt"
    ln -s "$2.txt" "$state/log.$1"
}

# Starts a job of one process on one device.
source_flag() { # FILE: prints the flag of eval.py that takes it
    case $1 in
        *.onnx | *.mindir) echo --model_file ;;
        *) echo --ckpt_path ;;
    esac
}

launch_one() { # train|eval DEVICE_ID SCRIPT ARGUMENT…
    task=$1 device=$2 ranks=0 first_rank=0 table='' with_msrun='' only="device $2"
    shift 2
    make_state
    echo "0 $device" >"$state/ranks"
    launch_log=$PWD/${task}_log$device.txt
    prepare_log 0 "${launch_log%.txt}"
    tell "$task on device $device; log: $launch_log"
    run_job "$@"
}

# Starts a job of one process per device of this server.
launch_many() { # train|eval RANK_TABLE|none DEVICE_NUM SCRIPT ARGUMENT…
    task=$1 table=$2 device_num=$3 with_msrun='' only=''
    shift 3
    make_state
    if [ "$table" = none ]; then
        table='' with_msrun=yes
        choose_port
        rank=0
        while [ "$rank" -lt "$device_num" ]; do
            echo "$rank $rank"
            rank=$((rank + 1))
        done >"$state/ranks"
    else
        read_rank_table
    fi
    ranks=$(cut -d ' ' -f 1 "$state/ranks")
    first_rank=$(head -n 1 "$state/ranks" | cut -d ' ' -f 1)
    logs=''
    for rank in $ranks; do
        make_folder "${task}_parallel$rank"
        prepare_log "$rank" "$PWD/${task}_parallel$rank/log"
        logs="$logs ${task}_parallel$rank/log.txt"
    done
    first_folder=$PWD/${task}_parallel$first_rank
    launch_log=$first_folder/launch.txt
    msrun_log=$first_folder/msrun.txt
    rm -f -- "$launch_log" "$msrun_log" "$first_folder/scheduler.txt"
    tell "$task on $device_num devices; logs in $PWD:$logs"
    [ -n "$foreground" ] || tell "messages of the launcher: $launch_log"
    run_job "$@"
}

choose_port() {
    port=${MASTER_PORT:-$("$python" -c \
        'import socket; server = socket.socket(); server.bind(("127.0.0.1", 0)); print(server.getsockname()[1])')}
    is_number "$port" || fail "MASTER_PORT should be the number of a free port, is '$port'"
}

# Checks the table and picks this server's devices; makes table absolute, sets rank_size.
read_rank_table() {
    [ -f "$table" ] || fail "the rank table $table is not there (none: let msrun start the processes)"
    table=$(readlink -f -- "$table")
    (cd -- "$root" && PYTHONPATH=$root "$python" -m src.launch.rank_tables check "$table") || exit 2
    list_devices <"$table" >"$state/table"
    rank_size=$(wc -l <"$state/table" | tr -d ' ')
    servers=$(cut -d ' ' -f 1,2 "$state/table" | uniq | tr ' \n' '= ')
    case $servers in
        *' '?*)
            [ -n "${SERVER_ID:-}" ] || fail "$table has several servers; SERVER_ID should say which one this is," \
                "by position or by server_id: $servers"
            ;;
    esac
    awk -v wanted="${SERVER_ID:-0}" '$1 "" == wanted "" || $2 "" == wanted "" { print $4, $3 }' "$state/table" |
        sort -n >"$state/ranks"
    found=$(wc -l <"$state/ranks" | tr -d ' ')
    [ "$found" -gt 0 ] || fail "SERVER_ID=$SERVER_ID is no server of $table; its servers: $servers"
    [ "$found" -eq "$device_num" ] ||
        fail "DEVICE_NUM is $device_num, but $table has $found device(s) on this server"
}

# A rank table in, one line per device out: position of the server, server_id, device_id, rank_id.
list_devices() {
    awk '
        { text = text $0 " " }
        END {
            depth = 0; server = -1
            while (match(text, /"[^"]*"|[][{}:,]|[^][{}:," \t\r]+/)) {
                token = substr(text, RSTART, RLENGTH)
                text = substr(text, RSTART + RLENGTH)
                # Depths: 1 the table, 2 server_list, 3 a server, 4 its device list, 5 a device.
                in_server = depth >= 3 && key[1] == "server_list"
                in_device = depth == 5 && in_server && key[3] == "device"
                if (token == "{" || token == "[") {
                    key[++depth] = ""
                    if (depth == 3 && key[1] == "server_list") { server++; server_id = "?"; count = 0 }
                    if (depth == 5) device_id = rank_id = ""
                } else if (token == "}" || token == "]") {
                    if (in_device) line[++count] = device_id " " rank_id
                    if (in_server && depth == 3) for (i = 1; i <= count; i++) print server, server_id, line[i]
                    depth--
                } else if (token == ":") {
                    key[depth] = last
                } else if (token == ",") {
                    key[depth] = ""
                } else {
                    gsub(/"/, "", token)
                    gsub(/ /, "_", token)
                    last = token
                    if (in_server && depth == 3 && key[3] == "server_id") server_id = token
                    if (in_device && key[5] == "device_id") device_id = token
                    if (in_device && key[5] == "rank_id") rank_id = token
                }
            }
        }'
}

# --- Running a job

run_job() { # SCRIPT ARGUMENT…
    if [ -n "$foreground" ]; then
        supervise "$@"
        exit "$job_status"
    fi
    # As nohup does: deaf to the terminal's end, nothing of it open.
    (
        trap '' HUP
        supervise "$@"
        exit "$job_status"
    ) </dev/null >>"$launch_log" 2>&1 &
    trap - EXIT
    # Until it can be stopped.
    while [ ! -e "$state/alive" ] && is_alive "$!"; do
        sleep 0.05
    done
    case $task in
        train) tell "it runs in the background; stop it with a checkpoint and status 0: kill $!" ;;
        *) tell "it runs in the background; stop it: kill $!" ;;
    esac
    exit 0
}

# Runs a job to its end; sets job_status.
supervise() { # SCRIPT ARGUMENT…
    stop_requested='' launcher='' viewer=''
    [ -z "$foreground" ] || trap 'stop_requested=yes' HUP
    trap 'stop_requested=yes' INT TERM
    start_watchdog
    [ -z "$foreground" ] || start_viewer
    if [ -n "$with_msrun" ]; then
        start_msrun "$@"
    else
        start_ranks "$@"
    fi
    # Into the void: where sh is bash, it reports every process that a signal ended, at any time.
    watch_to_the_end 2>/dev/null
    report_end
    rm -rf "$state"
}

# Waits for the end of a job and leaves no process of it; sets job_status and culprit.
watch_to_the_end() {
    watch_job
    trap '' HUP INT TERM
    if [ "$job_status" -eq 0 ]; then
        # All ranks have ended well; they may leave in peace. What msrun and its scheduler still do is of no importance.
        set_deadline "$grace_seconds"
        while { any_rank_is_alive || { [ -n "$launcher" ] && is_alive "$launcher"; }; } && ! is_past_deadline; do
            nap
        done
        kill_leftovers
    elif [ "$culprit" = stop ]; then
        kill_leftovers
    else
        end_job "$grace_seconds"
    fi
    : >"$state/finished"
    exec 9>&-
    wait "$watchdog"
    [ -z "$viewer" ] || wait "$viewer"
}

# If the supervisor is killed so that it cannot clean up, the watchdog does.
start_watchdog() {
    mkfifo "$state/alive"
    exec 9<>"$state/alive"
    (
        trap '' HUP INT TERM
        exec 8<"$state/alive" 9>&-
        read -r _ <&8
        if [ ! -e "$state/finished" ]; then
            echo "error: the launcher was killed; ending the job" >&2
            end_job "$stop_seconds"
            # The viewer would wait until somebody has buried this process.
            [ ! -e "$state/viewer" ] || { sleep 0.2 && kill -KILL "$(cat "$state/viewer")"; }
            rm -rf "$state"
        fi
    ) &
    watchdog=$!
}

# Shows the first rank's log. It ends with the watchdog, after a last look at the file.
start_viewer() {
    (
        trap '' HUP INT TERM
        # It may say that nobody takes its lines any more.
        exec tail -n +1 -f -s 0.1 --pid="$watchdog" "$(readlink "$state/log.$first_rank")" 2>/dev/null
    ) 9>&- &
    viewer=$!
    echo "$viewer" >"$state/viewer"
}

start_ranks() { # SCRIPT ARGUMENT…
    while read -r rank device; do
        # A session of its own: Ctrl-C in the terminal reaches the supervisor only.
        setsid env POSE_LAUNCH="$state" \
            ${table:+"RANK_TABLE_FILE=$table" "RANK_SIZE=$rank_size" "RANK_ID=$rank" "DEVICE_ID=$device" \
            "ASCEND_DEVICE_ID=$device"} sh "$root/scripts/run_rank.sh" "$@" 9>&- &
        echo $! >"$state/pid.$rank"
    done <"$state/ranks"
}

start_msrun() { # SCRIPT ARGUMENT…
    # msrun runs the word `python`; that becomes run_rank.sh.
    mkdir "$state/bin" "$state/msrun"
    ln -s "$root/scripts/run_rank.sh" "$state/run_rank.sh"
    # shellcheck disable=SC2016  # the new file expands them
    printf '%s\n' '#!/bin/sh' 'exec sh "$POSE_LAUNCH/run_rank.sh" "$@"' >"$state/bin/python"
    chmod +x "$state/bin/python"
    ln -s "$first_folder/scheduler.txt" "$state/msrun/scheduler.log"
    # --tail_worker_log names no worker: otherwise msrun starts a tail for each.
    POSE_LAUNCH=$state PATH=$state/bin:$PATH setsid "$python" -u -m mindspore.parallel.cluster.run \
        --worker_num="$device_num" --local_worker_num="$device_num" --master_port="$port" \
        --log_dir="$state/msrun" --join=True --tail_worker_log="$device_num" "$@" >"$msrun_log" 2>&1 </dev/null 9>&- &
    launcher=$!
}

# Waits until the job has ended well (job_status 0) or should be ended (culprit and job_status say why).
watch_job() {
    culprit='' job_status='' deadline=''
    while [ -z "$job_status" ]; do
        nap
        # First who is gone, then who left a status: in this order nobody is taken for killed who was not.
        gone=''
        for rank in $ranks; do
            ! read_pid "$rank" || is_alive "$pid" || gone="$gone$rank "
        done
        launcher_is_gone=''
        [ -z "$launcher" ] || is_alive "$launcher" || launcher_is_gone=yes
        read_ended
        if [ -n "$culprit" ] || find_killed; then
            return
        elif [ -z "$running" ]; then
            job_status=0
        elif [ -n "$launcher_is_gone" ]; then
            culprit=msrun job_status=1
            wait "$launcher" || job_status=$?
        elif [ -n "$stop_requested" ]; then
            terminate_ranks
            [ -n "$deadline" ] || set_deadline "$stop_seconds"
            if [ "$told" = ' ' ]; then
                culprit=start job_status=143
            elif is_past_deadline; then
                culprit=stop job_status=137
            fi
        fi
    done
}

# Sets ended and running, and culprit and job_status to the first rank that ended badly.
read_ended() {
    ended=' ' running=''
    while read -r rank status; do
        ended="$ended$rank "
        if [ "$status" -ne 0 ] && [ -z "$culprit" ]; then
            culprit=$rank job_status=$status
        fi
    done <"$state/ended"
    for rank in $ranks; do
        case $ended in
            *" $rank "*) ;;
            *) running="$running $rank" ;;
        esac
    done
}

# Sets culprit and job_status to a rank that is gone without having left a status: run_rank.sh itself was killed.
find_killed() {
    for rank in $gone; do
        case $ended in
            *" $rank "*) continue ;;
        esac
        # Several are gone where msrun saw it first and killed the others; then its log says which one it was.
        if [ -z "$culprit" ] || { [ -n "$launcher" ] && read_pid "$rank" &&
            grep -q "process $pid exit with exception" "$msrun_log"; }; then
            culprit=$rank job_status=137
        fi
    done
    [ -n "$culprit" ]
}

report_end() {
    case $culprit in
        '') [ -z "$stop_requested" ] || echo "stopped on request; every process ended with status 0" >&2 ;;
        start) echo "stopped on request before the processes had started" >&2 ;;
        stop) echo "error: still running $stop_seconds s after SIGTERM, so killed: ${only:-ranks$running}" >&2 ;;
        msrun) report_failure msrun "$msrun_log" ;;
        *)
            if [ -n "$stop_requested" ] && [ "$job_status" -eq 143 ]; then
                echo "stopped on request; SIGTERM ended ${only:-rank $culprit} before it could save" >&2
            else
                report_failure "${only:-rank $culprit}" "$(readlink "$state/log.$culprit")"
            fi
            ;;
    esac
}

report_failure() { # WHO LOG
    how="ended with status $job_status"
    [ "$job_status" -le 128 ] || how="was ended by signal $((job_status - 128)) (status $job_status)"
    [ -n "$only" ] || how="$how and the others were ended with it"
    echo "error: $task: $1 $how; log: $2" >&2
    # In the background a single process and its launcher share one log.
    [ "$2" = "$launch_log" ] && [ -z "$foreground" ] || tail -n 20 -- "$2" >&2
}

# --- Results

# Prints the last line of a log that begins with a text. A job that was stopped may have none.
print_line() { # BEGINNING LOG
    line=$(grep -- "^$1" "$2" | tail -n 1)
    [ -n "$line$interrupted" ] || fail "$2 has no line that begins with '$1'"
    tell "$line"
}
