# Shell functions for the tools that fetch packages from newer Debian suites through apt. The tools source this
# file. They use separate package lists and leave apt's configuration and lists unchanged. `$tool` is the tool's
# name in messages, and `$work` is the tool's directory for files and the log.

# The keyring of each release also contains the keys of the next release, which sign testing and unstable.
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nanospan

say() { printf '%s: %s\n' "$tool" "$*" >&2; }
fail() { say "$@"; exit 1; }

# Run a command with its output in the log, and show the end of the log if the command fails.
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

# Install the named packages that are missing, from the machine's own release.
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

# Print the mirror of Debian's main archive from this machine's sources.
mirror() {
    apt-get indextargets --format '$(REPO_URI)' \
        'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1
}

# Make apt use a separate source list and state in $work, with the source types $1 and the suites $2.
configure_apt() {
    local types=$1 suites=$2 uri
    uri=$(mirror)
    if [[ -z $uri ]]; then # the origin is known only after the lists have been fetched
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

# Create $work, and remove it when the tool ends, even after an error or a signal.
make_work() {
    work=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    chmod 755 "$work" # apt fetches as a separate user
}
