# shellcheck shell=sh
# Shared by the scripts: safe output, a monotonic clock, help, and starting the launcher.

# Closed streams are replaced by /dev/null: otherwise the next opened file would get the number of a closed stream, and
# what is printed would land in it.
true >&2 || exec 2>/dev/null
{ true >&1; } 2>/dev/null || exec >/dev/null
{ true <&0; } 2>/dev/null || exec </dev/null
# If the reader of a pipe has ended, as with `| head -n 1`, lines are lost, but the job goes on.
trap '' PIPE

# Prints a line; a failure is ignored.
tell() { # WORD…
    printf '%s\n' "$*" 2>/dev/null || :
}

# Sets $now, in seconds. Unlike `date` and SECONDS of bash, this clock does not jump when the system time is set.
read_clock() {
    if [ -r /proc/uptime ]; then
        read -r now _ </proc/uptime
        now=${now%.*}
    else
        now=$(date +%s)
    fi
}

# If the first argument asks for help, prints the comment at the head of the script and exits.
help_if_asked() { # SCRIPT [WORD…]
    case ${2:-} in
        -h | --help)
            sed -n '2,${/^#/!q;s/^# \{0,1\}//p;}' "$1" 2>/dev/null || :
            exit 0
            ;;
    esac
}

# Replaces this shell by the launcher, src/launch, which does the work of the script.
launch() { # SCRIPT [WORD…]
    python=${PYTHON:-$(command -v python || command -v python3)}
    if ! command -v -- "$python" >/dev/null; then
        echo "error: no Python found at '$python'; choose one with PYTHON=/path/to/python" >&2
        exit 2
    fi
    exec "$python" "$(dirname -- "$(readlink -f -- "$0")")/launch.py" "$@"
}
