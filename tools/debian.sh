# Sourced by the tools that fetch packages of newer Debian suites through apt, with lists of their own:
# apt's configuration and lists stay as they are. `$tool` names the tool in messages, and `$work` is its
# folder for files and the log.

# Every release's keyring also knows the keys of the next, which sign testing and unstable.
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nanospan

say() { printf '%s: %s\n' "$tool" "$*" >&2; }
fail() { say "$@"; exit 1; }

# Runs a command with its output in the log, the end of which is shown if it fails.
logged() {
    "$@" >>"$work/log" 2>&1 && return
    tail -n 30 "$work/log" >&2
    fail "failed: $*"
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "needs root or sudo: $*"
    fi
}

# Installs what is missing of the named packages of the machine's own release.
install() {
    local name missing=()
    for name in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] ||
            missing+=("$name")
    done
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    logged as_root apt-get update
    logged as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends "${missing[@]}"
}

# The mirror of Debian's main archive that this machine's sources name.
mirror() {
    apt-get indextargets --format '$(REPO_URI)' \
        'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1
}

# Makes apt use a source list and state of its own, in $work: that of the suites $2, of the type $1.
configure_apt() {
    local types=$1 suites=$2 uri
    uri=$(mirror)
    if [[ -z $uri ]]; then # lists that were never fetched name no origin
        logged as_root apt-get update
        uri=$(mirror)
    fi
    [[ -n $uri ]] || fail "apt has no source of Debian's main archive"
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
    cat >"$work/apt/debian.sources" <<END
Types: $types
URIs: $uri
Suites: $suites
Components: main
Signed-By: $keyring
END
    cat >"$work/apt/apt.conf" <<END
Dir::Etc::SourceList "$work/apt/debian.sources";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$work/apt/lists";
Dir::Cache "$work/apt/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
END
    export APT_CONFIG=$work/apt/apt.conf
}

# Makes $work, which is removed when the tool ends, however it ends.
make_work() {
    work=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    chmod 755 "$work" # apt fetches as a user of its own
}
