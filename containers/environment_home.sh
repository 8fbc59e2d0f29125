# shellcheck shell=sh
# Links what the build left in its home folder into the home of the user, when that is a new, empty one.
if grep -q " $HOME tmpfs " /proc/self/mounts 2> /dev/null; then
    while read -r openenv_entry; do
        case $openenv_entry in
            */) mkdir -p "$HOME/$openenv_entry" ;;
            *) mkdir -p "$(dirname "$HOME/$openenv_entry")" ;;
        esac
        [ -e "$HOME/$openenv_entry" ] || ln -s "@HOME@/$openenv_entry" "$HOME/$openenv_entry"
    done < /opt/openenv/home
fi
