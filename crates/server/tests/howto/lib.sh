# A qmail machine to type on: this system's files with everything writable covered by layers that vanish, in mount, process, network and
# host name spaces that the test harness made. Sourced by the scripts beside it; BIN holds `postino` and `postino-compat`, LIB this file's folder.
set -eu
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
POSTINO=$BIN/postino
unset POSTINO_HOME MAIL
umask 022
[ -n "${MADE_PRIVATE:-}" ] || mount --make-rprivate /
export MADE_PRIVATE=1

# layers NAME: a machine's own files from here on.
layers() {
    local t=/tmp/machine-$1 d
    mkdir -p "$t"
    mount -t tmpfs -o mode=755 machine "$t"
    for d in etc home var usr/local usr/bin usr/sbin usr/lib; do
        mkdir -p "$t/new/$d" "$t/aside/$d"
        mount -t overlay "$1" -o "lowerdir=/$d,upperdir=$t/new/$d,workdir=$t/aside/$d" "/$d"
    done
    mount -t tmpfs -o mode=755 run /run
    mkdir -p /run/lock "$t/dev/shm"
    for d in null zero full random urandom; do : >"$t/dev/$d"; mount --bind "/dev/$d" "$t/dev/$d"; done
    ln -s /proc/self/fd "$t/dev/fd"
    mount --rbind "$t/dev" /dev
    hostname "$1"
    echo "127.0.0.1 localhost $1" >/etc/hosts
    # Nobody answers there: names that are asked for are found in no time to be unknown.
    echo "nameserver 127.0.0.1" >/etc/resolv.conf
    ip link set lo up
    # Another mailer's name in the way is another test.
    rm -f /usr/sbin/sendmail /usr/lib/sendmail
    rm -rf /var/lib/postino
    # Nor is what this system may have of an earlier installation.
    rm -rf /var/qmail /bin/checkpassword /usr/local/bin/serialmail
    for d in $("$BIN/postino-compat" --list); do rm -f "/usr/local/bin/$d"; done
    for d in alias qmaild qmaill qmailp qmailq qmailr qmails vpopmail; do ! id "$d" >/dev/null 2>&1 || userdel -f "$d" 2>/dev/null; done
    for d in qmail nofiles vchkpw; do ! getent group "$d" >/dev/null || groupdel -f "$d"; done
}

fail() {
    echo "FAILED in ${ROW:-the beginning}: $*" >&2
    for log in /var/log/maillog /var/log/beside; do [ ! -f $log ] || { echo "--- $log"; tail -n 60 $log; } >&2; done
    exit 1
}
trap 'fail "a command ended with $? in line $LINENO: $BASH_COMMAND"' ERR
set -E

# row SECTION NAME: what follows shows this row of the list of promises.
row() {
    ROW="$1 $2"
    echo "row: $ROW"
}

# getmail_config USER SERVER ACCOUNT: what the getmail of USER is to fetch.
getmail_config() {
    su "$1" -c "mkdir -m 700 ~/.getmail && cat >~/.getmail/getmailrc" <<END
[retriever]
type = SimplePOP3Retriever
server = $2
username = $3
password = segreto
[destination]
type = Maildir
path = ~/Maildir/
[options]
delete = true
END
}

# eventually WORD...: the command becomes true; a minute is for a machine that is busy, not a promise.
eventually() {
    local end=$((SECONDS + ${PATIENCE:-60}))
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "never true: $*"
        sleep 0.05
    done
}

has() { grep -qF -- "$2" "$1"; }
is() { [ "$1" = "$2" ] || fail "wanted <$2>, got <$1>"; }
contains() { case "$1" in *"$2"*) ;; *) fail "no <$2> in <$1>" ;; esac; }
one_file_in() { [ "$(find "$1" -type f 2>/dev/null | wc -l)" = 1 ]; }
files_in() { [ "$(find "$2" -type f 2>/dev/null | wc -l)" = "$1" ]; }

# dial PORT [HOST]: a telnet that types standard input line by line, each when the answer to the one before is there, and prints both sides.
dial() { python3 "$LIB/dial.py" "$@"; }
# answers PORT: a banner.
answers() { python3 "$LIB/dial.py" --banner "$1" >/dev/null 2>&1; }
silent() { ! answers "$1"; }

# settled MAILDIR: nothing in it is of the current second, which qmail-pop3d does not show yet.
settled() { [ "$(find "$1/new" -type f -printf '%Ts\n' | sort -n | tail -n 1)" -lt "$(date +%s)" ]; }

# engine: the pid of this machine's qmail-send.
engine() { pgrep --ns $$ --nslist mnt -xo qmail-send; }

# user NAME PASSWORD: a system account with a Maildir.
user() {
    useradd -m -s /bin/sh "$1"
    echo "$1:$2" | chpasswd
    su "$1" -c "/var/qmail/bin/maildirmake ~/Maildir"
}

syslog() {
    python3 "$LIB/syslog.py" /dev/log /var/log/maillog &
    eventually test -S /dev/log
}

# beside: `postino serve` of another home, which nothing on this machine may touch.
beside() {
    useradd -r -M -s /usr/sbin/nologin beside
    "$POSTINO" setup beside.test --domain beside.test --postmaster-password segreto --user beside --home /var/beside --quiet
    cat >/var/beside/control/server.toml <<'END'
user = "beside"
[listen]
smtp = ["127.0.0.1:2025"]
submission = []
submissions = []
pop3 = ["127.0.0.1:2110"]
pop3s = []
http = []
END
    "$POSTINO" serve --home /var/beside >/var/log/beside 2>&1 &
    BESIDE=$!
    eventually answers 2025
}

# The same process answers as before.
beside_untouched() {
    kill -0 "$BESIDE" || fail "postino serve of the other home is gone"
    answers 2025 || fail "postino serve of the other home does not answer"
}

# qmail_machine NAME: installed and configured as chapter 2 leaves it.
qmail_machine() {
    layers "$1"
    "$POSTINO" install-compat >/var/log/install-compat
    /var/qmail/bin/config-fast "$1"
    printf '127.:allow,RELAYCLIENT=""\n:allow\n' >/etc/tcp.smtp
    tcprules /etc/tcp.smtp.cdb /etc/tcp.smtp.tmp </etc/tcp.smtp
    syslog
}

# network N: a cable to which N machines will be tied.
network() {
    ip link set lo up
    ip link add name cable type bridge
    ip link set cable up
    mkdir -p /tmp/machines
    mount -t tmpfs machines /tmp/machines
    PLUGS=0
}

# machine NAME ADDRESS: another host on the cable, as chapter 2 leaves it; `on NAME 'commands'` types there.
machine() {
    local pid=/tmp/machines/$1
    unshare -m -n -u -- bash -c '. "$LIB/lib.sh"; echo $$ >'"$pid"'; exec sleep infinity' &
    eventually test -s "$pid"
    PLUGS=$((PLUGS + 1))
    ip link add "plug$PLUGS" type veth peer name eth0 netns "$(cat "$pid")"
    ip link set "plug$PLUGS" master cable up
    on "$1" "qmail_machine $1 >/dev/null; ip addr add $2/24 dev eth0; ip link set eth0 up"
}

on() {
    ROW="${ROW:-}" nsenter -m -n -u -t "$(cat "/tmp/machines/$1")" -- bash -c '. "$LIB/lib.sh"; '"$2" || fail "on $1"
}

# servers: SMTP, POP3 and the queue, as the init script starts them.
servers() {
    csh -cf '/var/qmail/rc &' >/dev/null
    tcpserver -H -R -x /etc/tcp.smtp.cdb -u"$(id -u qmaild)" -g"$(id -g qmaild)" 0 smtp /var/qmail/bin/qmail-smtpd >/dev/null 2>&1 &
    tcpserver -v -H -R 0 pop3 /var/qmail/bin/qmail-popup "$(hostname)" /bin/checkpassword /var/qmail/bin/qmail-pop3d Maildir 2>&1 | /var/qmail/bin/splogger pop3d &
    eventually answers 25
    eventually answers 110
    eventually has /var/log/maillog "status: local"
}
