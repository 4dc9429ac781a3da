#!/usr/bin/env bash
# Puts a release of chargebus onto a station, takes the one before back, or removes it. README.md beside this file says how.
#
# Theory of operation. Each release has a directory and a virtual environment of its own; `current` is a link to one of them,
# and everything else (the unit, the command, the udev rules) goes by way of that link. A release is made beside the others,
# brought to the disk, and only then marked `complete`. So the one rename that replaces `current` is the whole upgrade: a power
# cut at any instant leaves the old release or the new one, and what was left half done is thrown away by the next run.
# Databases are never touched: their schemas only grow, so that every release can read what a later one has left.
set -euo pipefail
umask 022

readonly user=chargebus unit=chargebus.service
readonly opt=/opt/chargebus etc=/etc/chargebus state=/var/lib/chargebus log=/var/log/chargebus
readonly releases=$opt/releases current=$opt/current
# What is linked to outside of these directories, and to which file of the current release.
readonly links="
/etc/systemd/system/$unit share/$unit
/etc/udev/rules.d/60-chargebus.rules share/60-chargebus.rules
/etc/polkit-1/rules.d/60-chargebus.rules share/60-chargebus-polkit.rules
/usr/local/bin/station share/station"
readonly groups_wanted="dialout gpio input"
readonly start_wait_s=60

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=''
dry_run=no
profile=default
purge=no
with_undelivered=no
version='' python='' machine=''

main() {
    local command=${1:-help}
    [ $# -eq 0 ] || shift
    read_options "$@"
    case $command in
    install) run_alone install_release ;;
    rollback) run_alone roll_back ;;
    uninstall) run_alone uninstall ;;
    list) list_releases ;;
    help | -h | --help) usage ;;
    *) die "there is no command $command; install.sh help lists them" ;;
    esac
}

usage() {
    cat <<'END'
install.sh install [--profile NAME|FILE]    install this release, or upgrade to it
install.sh rollback                         back to the release before; databases stay as they are
install.sh uninstall [--purge]              remove the software; --purge: configuration, databases, logs and user too
           [--with-undelivered]             even if the queue has messages that no Central System has got
install.sh list                             which releases are there
 --dry-run     say what would be done, and do nothing
 --root DIR    a station's file system that is mounted here, for making an image; as root, DIR has its own python3
END
}

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
        --dry-run) dry_run=yes ;;
        --purge) purge=yes ;;
        --with-undelivered) with_undelivered=yes ;;
        --root)
            root=$(cd "${2:?--root needs a directory}" && pwd) || die "there is no directory $2"
            shift
            ;;
        --profile)
            profile=${2:?--profile needs a name or a file}
            shift
            ;;
        *) die "there is no option $1; install.sh help lists them" ;;
        esac
        shift
    done
    if [ "$root" = / ]; then root=''; fi
}

say() { echo "install.sh: $*"; }

die() {
    echo "install.sh: $*" >&2
    exit 1
}

# Do it, or say what would be done.
act() {
    if [ "$dry_run" = yes ]; then echo "would: $*"; else "$@"; fi
}

# Run a command of the station's own system.
act_inside() { act ${root:+chroot "$root"} "$@"; }
inside() { ${root:+chroot "$root"} "$@"; }
as_user() { inside setpriv --reuid="$user" --regid="$user" --init-groups -- "$@"; }

# A reason to stop; a dry run goes on, so that it names all of them.
refuse() {
    if [ "$dry_run" = no ]; then die "$*"; fi
    echo "would refuse: $*"
}

run_alone() {
    if [ "$dry_run" = yes ]; then
        "$1"
        return
    fi
    [ "$(id -u)" = 0 ] || die "needs root; run it with sudo, or with --dry-run to see what it would do"
    mkdir -p "$root$opt"
    exec 9<"$root$opt"
    flock --nonblock 9 || die "another install.sh is at work on this station; wait for it"
    "$1"
}

install_release() {
    read_release
    verify_release
    check_python
    make_user
    make_directories
    build_release
    make_first_configuration
    check_configuration "$version"
    make_links
    switch_to "$version"
    start_or_go_back
    remove_old_releases
    tell_what_is_next
}

read_release() {
    [ -f "$here/RELEASE" ] || die "$here is no unpacked release; unpack one and run the install.sh in it"
    local name value
    while IFS='=' read -r name value; do
        case $name in version) version=$value ;; python) python=$value ;; machine) machine=$value ;; esac
    done <"$here/RELEASE"
    [[ $version =~ ^[0-9A-Za-z][0-9A-Za-z.+_-]*$ ]] || die "$here/RELEASE names no version; the release is damaged"
}

verify_release() {
    (cd "$here" && sha256sum --check --quiet --strict SHA256SUMS) ||
        refuse "the release is damaged (see above); copy it again"
}

# Wheels are made for one version of Python and one kind of processor.
check_python() {
    local found
    found=$(inside python3 -c 'import platform, sys; print("%d.%d" % sys.version_info[:2], platform.machine())' 2>&1) || {
        refuse "there is no python3; apt-get install python3"
        return 0
    }
    [ "$found" = "$python $machine" ] ||
        refuse "the release is for Python $python on $machine, but this station has Python $found; take the right release"
}

make_user() {
    if ! grep -q "^$user:" "$root/etc/passwd" 2>/dev/null; then
        act_inside useradd --system --user-group --home-dir "$state" --no-create-home --shell /usr/sbin/nologin "$user"
    fi
    local group
    for group in $groups_wanted; do
        if grep -q "^$group:" "$root/etc/group" 2>/dev/null &&
            ! grep -Eq "^$group:.*[:,]$user(,|\$)" "$root/etc/group"; then
            act_inside usermod --append --groups "$group" "$user"
        fi
    done
}

make_directories() {
    act mkdir -p "$root$releases"
    make_directory "$etc" "root:$user"
    make_directory "$state" "$user:$user"
    make_directory "$log" "$user:$user"
    # The station writes its logs below its state directory; there they are on the disk that /var/log is on.
    if [ ! -e "$root$state/log" ] && [ ! -L "$root$state/log" ]; then
        act point "$root$state/log" to "$log"
    fi
}

make_directory() {
    if [ ! -d "$root$1" ]; then
        act mkdir -p -m 0750 "$root$1"
        act_inside chown "$2" "$1"
    fi
}

# `complete` holds the digest of the release's list of digests: the same version with other contents is not the same release.
build_release() {
    local name=$releases/$version digest
    digest=$(sha256sum <"$here/SHA256SUMS" | cut -c1-64)
    if is_complete "$version"; then
        [ "$(cat "$root$name/complete")" = "$digest" ] && return 0
        refuse "release $version is installed already with other contents; give the new one another version (bus/version.py)"
        return 0
    fi
    if [ -e "$root$name" ]; then act discard "$root$name"; fi
    check_space
    act mkdir -p "$root$name/share"
    act cp -r "$here/wheels" "$root$name/wheels"
    act cp -r "$here"/{share/.,profiles,install.sh,README.md,FIELD-GUIDE.md,RELEASE} "$root$name/share"
    act_inside python3 -m venv --without-pip "$name"
    act fill_environment "$name"
    act rm -r "$root$name/wheels"
    act seal "$root$name" "$digest"
}

is_complete() { [ -f "$root$releases/$1/complete" ]; }

# pip runs out of its own wheel: neither Debian's pip nor a network is needed.
fill_environment() {
    local pip=("$root$1"/wheels/pip-*.whl)
    inside env PIP_CONFIG_FILE=/dev/null "$1/bin/python" "$1/wheels/${pip[0]##*/}/pip" --isolated --quiet \
        --disable-pip-version-check --no-cache-dir install --no-index --find-links "$1/wheels" "chargebus[virtual]==$version" pip
}

# Everything is on the disk before the mark is, and the mark has its name once it is whole.
seal() {
    sync --file-system "$1"
    echo "$2" >"$1/complete.new"
    sync "$1/complete.new"
    mv "$1/complete.new" "$1/complete"
    sync "$1"
}

# Without its mark a release is nothing, however far its removal gets.
discard() {
    rm -f "$1/complete"
    sync "$1"
    rm -rf "$1"
}

check_space() {
    local needed_kb free_kb
    needed_kb=$((10 * $(du -sk "$here/wheels" | cut -f1) + 20000))
    free_kb=$(df --output=avail "$(nearest_directory "$root$releases")" | tail -n 1)
    [ "$free_kb" -ge "$needed_kb" ] ||
        refuse "$opt has $((free_kb / 1024)) MB free, but a release needs $((needed_kb / 1024)); make room"
}

nearest_directory() {
    local path=$1
    while [ ! -d "$path" ]; do path=$(dirname "$path"); done
    echo "$path"
}

make_first_configuration() {
    if [ -e "$root$etc/station.toml" ]; then return; fi
    local source=$here/profiles/$profile.toml
    if [ -f "$profile" ]; then source=$profile; fi
    [ -f "$source" ] || die "there is no profile $profile; there are: $(cd "$here/profiles" && echo *.toml)"
    act install -m 0640 "$source" "$root$etc/station.toml.new"
    act_inside chown "root:$user" "$etc/station.toml.new"
    act mv "$root$etc/station.toml.new" "$root$etc/station.toml"
}

# 2: the station would not start with it. Anything less is told, and is no reason to keep an old release.
check_configuration() {
    local code=0
    if [ "$dry_run" = yes ]; then
        echo "would: check $etc/station.toml with release $1, and stop here if the station would not start with it"
        return
    fi
    as_user "$releases/$1/bin/station" check --config "$etc/station.toml" --state-dir "$state" || code=$?
    [ "$code" -ne 2 ] || die "release $1 does not start with this $etc/station.toml (see above); nothing was switched"
}

make_links() {
    local link target
    while read -r link target; do
        if [ -n "$link" ] && [ -d "$(dirname "$(dirname "$root$link")")" ]; then
            make_link "$link" "$current/$target"
        fi
    done <<<"$links"
    make_link "/etc/systemd/system/multi-user.target.wants/$unit" "../$unit"
}

make_link() {
    if [ "$(readlink "$root$1" || true)" = "$2" ]; then return; fi
    act mkdir -p "$(dirname "$root$1")"
    act point "$root$1" to "$2"
}

# A link is replaced by one rename, so that there is always the old one or the new one.
point() {
    ln -sfn "$3" "$1.new"
    mv -T "$1.new" "$1"
    sync "$(dirname "$1")"
}

installed_version() { basename "$(readlink "$root$current" || true)"; }

# Each release remembers the one that it replaced; what is before that is not needed.
switch_to() {
    local old
    old=$(installed_version)
    if [ "$old" = "$1" ]; then return; fi
    if [ -n "$old" ]; then act note "$root$releases/$1/replaced" "$old"; fi
    act point "$root$current" to "releases/$1"
}

note() {
    echo "$2" >"$1.new"
    sync "$1.new"
    mv "$1.new" "$1"
}

replaced_version() { cat "$root$releases/$1/replaced" 2>/dev/null || true; }

systemd_runs() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

# A running station goes on with its own release until it is restarted: a switch alone changes nothing for it.
start_or_go_back() {
    if ! systemd_runs; then return; fi
    local running
    running=$(running_version)
    if [ "$running" = "$version" ]; then return; fi
    if [ -z "$running" ] && is_still_an_example; then return; fi
    act restart
    if [ "$dry_run" = yes ] || all_services_run; then return; fi
    go_back
}

go_back() {
    local old
    old=$(replaced_version "$version")
    if [ -z "$old" ] || ! is_complete "$old"; then
        die "release $version does not start; see 'station status', 'station logs' and 'journalctl -u $unit'"
    fi
    point "$root$current" to "releases/$old"
    restart
    die "release $version does not start, so $old runs again; see 'station logs' and 'journalctl -u $unit' for the reason"
}

restart() {
    systemctl daemon-reload
    # Boards without udev have other ways to say who may open what; `station check` tells what can't be opened.
    if command -v udevadm >/dev/null; then
        udevadm control --reload
        udevadm trigger --subsystem-match=watchdog --subsystem-match=hidraw
    fi
    systemctl restart "$unit"
}

# By the interpreter of supervisord, whose path has the release in it; empty: no station runs under systemd.
running_version() {
    local pid
    pid=$(systemctl show --property MainPID --value "$unit" 2>/dev/null || echo 0)
    if [ "${pid:-0}" != 0 ]; then
        tr '\0' '\n' <"/proc/$pid/cmdline" | sed -n "s#^$releases/\([^/]*\)/.*#\1#p" | head -n 1
    fi
}

# Three good looks in a row: a service that crashes in a loop is between two of its starts for a while.
all_services_run() {
    local good=0 waited_s=0
    while [ "$waited_s" -lt "$start_wait_s" ]; do
        sleep 2
        waited_s=$((waited_s + 2))
        if services_run_now; then good=$((good + 1)); else good=0; fi
        if [ "$good" -ge 3 ]; then return 0; fi
    done
    return 1
}

# A station that is not well (a device is missing, no Central System) runs all the same; its status ends with 2 then.
services_run_now() {
    { as_user "$current/bin/station" status --state-dir "$state" --json 2>/dev/null || true; } | "$current/bin/python" -c '
import json, sys
try:
    services = json.load(sys.stdin)["services"].values()
except ValueError:
    sys.exit(1)
sys.exit(any(service["state"] != "RUNNING" for service in services))'
}

is_still_an_example() {
    local example
    for example in "$here"/profiles/*.toml; do
        if cmp --silent "$example" "$root$etc/station.toml"; then return 0; fi
    done
    return 1
}

remove_old_releases() {
    local path name
    for path in "$root$releases"/*; do
        name=${path##*/}
        if [ -d "$path" ] && [ "$name" != "$version" ] && [ "$name" != "$(replaced_version "$version")" ]; then
            act discard "$path"
        fi
    done
}

tell_what_is_next() {
    if [ "$dry_run" = yes ]; then return; fi
    say "release $version is installed"
    if is_still_an_example; then
        say "now: edit $etc/station.toml, run 'station check', then 'systemctl start $unit'"
    elif ! systemd_runs; then
        say "systemd does not run here; at the next boot it starts the station"
    fi
}

roll_back() {
    local now before
    now=$(installed_version)
    [ -n "$now" ] || die "no release is installed"
    before=$(replaced_version "$now")
    if [ -z "$before" ] || ! is_complete "$before"; then die "there is no release from before $now to go back to"; fi
    check_configuration "$before"
    act point "$root$current" to "releases/$before"
    version=$before
    if systemd_runs && [ -n "$(running_version)" ]; then act restart; fi
    [ "$dry_run" = yes ] || say "release $before is current again, instead of $now"
}

list_releases() {
    local path name mark now before
    now=$(installed_version)
    before=$(replaced_version "$now")
    for path in "$root$releases"/*; do
        if [ ! -d "$path" ]; then continue; fi
        name=${path##*/} mark=''
        if [ "$name" = "$before" ]; then mark=' (rollback goes here)'; fi
        if [ "$name" = "$now" ]; then mark=' (current)'; fi
        if ! is_complete "$name"; then mark=' (not complete: an installation was interrupted)'; fi
        echo "$name$mark"
    done
}

uninstall() {
    refuse_undelivered
    if systemd_runs; then act systemctl stop "$unit"; fi
    # What was under way a moment ago is in the queue now.
    refuse_undelivered
    local link target
    while read -r link target; do
        if [ -L "$root$link" ] && [ "$(readlink "$root$link")" = "$current/$target" ]; then act rm "$root$link"; fi
    done <<<"$links"
    act rm -f "$root/etc/systemd/system/multi-user.target.wants/$unit"
    if systemd_runs; then act systemctl daemon-reload; fi
    act rm -rf "$root$opt"
    if [ "$purge" = yes ]; then purge_station; fi
    if [ "$dry_run" = yes ]; then return; fi
    say "removed$([ "$purge" = yes ] || echo "; $etc, $state and $log are kept, --purge removes them too")"
}

purge_station() {
    act rm -rf "$root$etc" "$root$state" "$root$log"
    if grep -q "^$user:" "$root/etc/passwd" 2>/dev/null; then act_inside userdel "$user"; fi
}

# What is in the queue is money. Whatever the answer is but a clear no, it counts as something.
refuse_undelivered() {
    if [ ! -e "$root$state/transactions.db" ] && [ ! -e "$root$state/connectors.db" ]; then return; fi
    if [ "$dry_run" = yes ]; then
        echo "would: ask 'station queue check', and stop here if messages are not delivered (unless --with-undelivered)"
        return
    fi
    local code=0
    as_user "$current/bin/station" queue check --state-dir "$state" || code=$?
    if [ "$code" = 0 ]; then return; fi
    if [ "$with_undelivered" = no ]; then
        say "this station has transaction messages that no Central System has got, open transactions, or what can't be told: money."
        say "Let it deliver them (and end what charges), or take them along: station queue export - > FILE"
        if systemd_runs; then systemctl start "$unit"; fi
        die "nothing was removed; --with-undelivered removes the software all the same"
    fi
    say "WARNING: messages that no Central System has got (see above) are left undelivered"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then main "$@"; fi
