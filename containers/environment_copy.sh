# shellcheck shell=sh
# COPY of a Dockerfile: openenv_copy MODE DESTINATION SOURCE...
# Follows Docker's rules: the content of a folder is copied; a file is copied into a destination that
# is a folder or ends with a slash, and otherwise under the name of the destination.
openenv_copy() (
    mode=$1 to=$2
    shift 2
    single=
    case $#:$to in
        1:*/) ;;
        1:*) [ -d "$to" ] || [ -d "$1" ] || single=yes ;;
    esac
    mkdir -p "$(if [ "$single" ]; then dirname "$to"; else echo "$to"; fi)"
    work=$(mktemp -d)
    for from; do
        if [ ! -e "$from" ] && [ ! -L "$from" ]; then
            case $from in
                *[*?]*) continue ;; # the pattern matches nothing
                *) echo "COPY: ${from#/mnt/context/} does not exist in the build context" >&2; exit 1 ;;
            esac
        fi
        cp -a "$from" "$work/item"
        [ -z "$mode" ] || chmod -R "$mode" "$work/item"
        if [ -d "$from" ]; then
            cp -a "$work/item/." "$to/"
        elif [ "$single" ]; then
            cp -a "$work/item" "$to"
        else
            cp -a "$work/item" "${to%/}/$(basename "$from")"
        fi
        rm -rf "$work/item"
    done
    rm -rf "$work"
)
