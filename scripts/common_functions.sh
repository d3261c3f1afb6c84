# shellcheck shell=sh
# What the scripts share: output that may be lost, a clock that nobody can set, help, and the way to the launcher.

# The number of a closed descriptor goes to the next file that is opened, and what is printed lands there.
true >&2 || exec 2>/dev/null
{ true >&1; } 2>/dev/null || exec >/dev/null
{ true <&0; } 2>/dev/null || exec </dev/null
# A reader that has gone, as after `| head -n 1`, costs lines, not the job.
trap '' PIPE

# Prints a line, if somebody takes it.
tell() { # WORD…
    printf '%s\n' "$*" 2>/dev/null || :
}

# Sets now, in seconds. Unlike `date`, and SECONDS of bash, this clock does not leap when somebody sets the time.
read_clock() {
    if [ -r /proc/uptime ]; then
        read -r now _ </proc/uptime
        now=${now%.*}
    else
        now=$(date +%s)
    fi
}

# Ends with the comment at the head of a script, if its first word asks for help.
help_if_asked() { # SCRIPT [WORD…]
    case ${2:-} in
        -h | --help)
            sed -n '2,${/^#/!q;s/^# \{0,1\}//p;}' "$1" 2>/dev/null || :
            exit 0
            ;;
    esac
}

# Becomes the launcher, src/launch, which does what a script of this folder is for.
launch() { # SCRIPT [WORD…]
    python=${PYTHON:-$(command -v python || command -v python3)}
    if ! command -v -- "$python" >/dev/null; then
        echo "error: no Python found at '$python'; choose one with PYTHON=/path/to/python" >&2
        exit 2
    fi
    exec "$python" "$(dirname -- "$(readlink -f -- "$0")")/launch.py" "$@"
}
