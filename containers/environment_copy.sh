# shellcheck shell=sh
# What the instructions of a Dockerfile become in the build of an image.
# shellcheck disable=SC1091
[ ! -r /mnt/apt.sh ] || . /mnt/apt.sh

# COPY and ADD: openenv_copy MODE DESTINATION SOURCE...
# Follows Docker's rules: the content of a folder is copied; a file is copied into a destination that
# is a folder or ends with a slash, and otherwise under the name of the destination.
openenv_copy() (
    mode=$1 to=$2
    shift 2
    single=
    case $#:$to in
        1:*/ | 1:. | 1:*/.) ;;
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
        cp -a -H "$from" "$work/item"
        # An image runs as a user who owns none of its files.
        chmod -R "${mode:-a+rX}" "$work/item"
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

# A pattern of COPY --from, in the stage that is copied from: openenv_gather FOLDER MATCH...
openenv_gather() {
    openenv_into=$1
    mkdir -p "$openenv_into"
    shift
    for openenv_match; do
        case ${openenv_match##*/} in . | ..) continue ;; esac
        [ ! -e "$openenv_match" ] || cp -a -H "$openenv_match" "$openenv_into/"
    done
}

# A here-document: openenv_write FILE TEXT, with the escapes of printf's %b.
openenv_write() {
    mkdir -p "$(dirname "$1")"
    printf %b "$2" > "$1"
}

# A mount of RUN: hides what is at the path, and shows it again after the command.
openenv_hide() {
    [ ! -e "$1" ] && [ ! -L "$1" ] || mv "$1" "$1.openenv-hidden"
    mkdir -p "$(dirname "$1")"
}
openenv_show() {
    rm -rf "$1"
    [ ! -e "$1.openenv-hidden" ] || mv "$1.openenv-hidden" "$1"
}

# USER: later commands have the home folder of this user. They still run as root.
openenv_user() {
    HOME=/
    while IFS=: read -r openenv_name _ openenv_id _ _ openenv_home _; do
        case $1 in "$openenv_name" | "$openenv_id") HOME=$openenv_home; break ;; esac
    done < /etc/passwd
    export HOME
}
