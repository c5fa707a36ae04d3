# 3.3: vpopmail's accounts, options, domains and users, typed as printed; the questions are answered by expect on a terminal.
. "$LIB/lib.sh"
layers test.com
V=/home/vpopmail

row 3.3 "ids taken: said so, and other ids taken when they are given"
groupadd -g 89 altro
useradd -u 89 -g altro -M altro
! out=$("$POSTINO" install-compat 2>&1) || fail "89 was taken from somebody"
contains "$out" "uid 89 belongs to the account altro"
contains "$out" "gid 89 belongs to the group altro"
userdel altro
! getent group altro >/dev/null || groupdel altro

row 3.3 "accounts: group vchkpw 89, user vpopmail 89"
groupadd -g 89 vchkpw
useradd -g vchkpw -d /home/vpopmail -u 89 vpopmail
"$POSTINO" install-compat >/var/log/install-compat
is "$(id -u vpopmail) $(id -g vpopmail) $(getent passwd vpopmail | cut -d: -f6)" "89 89 /home/vpopmail"
is "$(stat -c '%U:%G %a' $V/domains)" "vpopmail:vchkpw 700"
/var/qmail/bin/config-fast pluto.test
syslog

row 3.3 "options: what configure was given is settings of the same names"
export POSTINO_HOME=/var/qmail
"$POSTINO" config set vpopmail.roaming-users true
"$POSTINO" config set vpopmail.defaultquota 5000000S,1000C
"$POSTINO" config set vpopmail.tcpserver-file /home/vpopmail/etc/tcp.smtp
is "$("$POSTINO" config get vpopmail.relay-clear-minutes)" 180
"$POSTINO" check >/dev/null
unset POSTINO_HOME
echo ':allow' > /home/vpopmail/etc/tcp.smtp
env - PATH="/var/qmail/bin:$PATH" qmail-start ./Maildir/ splogger qmail &
eventually has /var/log/maillog "status: local"

# A terminal of this machine's own.
mkdir -p /dev/pts
mount -t devpts -o ptmxmode=666,newinstance devpts /dev/pts
ln -s pts/ptmx /dev/ptmx
# asked LINE ANSWER...: the line is typed, each answer when it is asked for; prints all that the terminal showed.
asked() {
    local line=$1 answer
    shift
    {
        echo "set timeout 20; log_user 1; spawn sh -c {$line}"
        for answer in "$@"; do
            echo "expect timeout {exit 9} {password*: }"
            echo "send -- {$answer}; send \\r"
        done
        echo 'expect eof; catch wait result; exit [lindex $result 3]'
    } | expect -f - | tr -d '\r'
}

row 3.3 "domains: vadddomain asks twice"
cd /home/vpopmail/bin
out=$(asked './vadddomain test.com' qwerty12 wrong qwerty12 qwerty12)
contains "$out" "Please enter password for postmaster: "
contains "$out" "enter password again: "
contains "$out" "Passwords do not match, try again"
case "$out" in *qwerty12*|*wrong*) fail "a password was shown: $out" ;; esac
[ -f $V/domains/test.com/vpasswd ] || fail "$out; $(ls /var/qmail $V $V/domains)"
has $V/domains/test.com/vpasswd "postmaster:\$1\$"
is "$(stat -c '%U:%G %a' $V/domains/test.com/vpasswd)" "vpopmail:vchkpw 600"
is "$(./vuserinfo -C postmaster@test.com)" qwerty12

row 3.3 "domains: vadddomain NAME PASSWORD; live at once, no kill -HUP is needed (and harms nobody)"
./vadddomain altro.test pw
has /var/qmail/control/virtualdomains "altro.test:altro.test"
has /var/qmail/control/rcpthosts altro.test
kill -HUP "$(engine)"
./vdominfo -n >/var/log/seen
has /var/log/seen test.com

row 3.3 "options: the default quota is that of new accounts"
out=$(asked './vadduser pippo@test.com' zxc32 zxc32)
contains "$out" "Please enter password for pippo@test.com: "
is "$(./vuserinfo -q pippo@test.com)" 5000000S,1000C

row 3.3 "users: vadduser USER@DOMAIN [PASSWORD], tree domains/DOMAIN/USER/Maildir"
./vadduser paperino@test.com zxc32
for d in new cur tmp; do is "$(stat -c '%U:%G %a' $V/domains/test.com/paperino/Maildir/$d)" "vpopmail:vchkpw 700"; done

row 3.3 "users: vpasswd USER@DOMAIN [PASSWORD]"
asked './vpasswd pippo@test.com' nuova1 nuova1 >/dev/null
is "$(./vuserinfo -C pippo@test.com)" nuova1
./vpasswd pippo@test.com rKjh45
is "$(./vuserinfo -C pippo@test.com)" rKjh45

row 3.3 "users: an interrupted question changes nothing and leaves the terminal as it was"
out=$(asked "stty -a | tr \" ;\" \"\\n\\n\" | grep -x echo; ./vpasswd pippo@test.com; stty -a | tr \" ;\" \"\\n\\n\" | grep -x echo" "$(printf '\003')") || true
is "$(grep -cx echo <<<"$out")" 2
is "$(./vuserinfo -C pippo@test.com)" rKjh45

row 3.3 "users: vdeluser"
./vdeluser pippo@test.com
[ ! -e $V/domains/test.com/pippo ] || fail "the mailbox is still there"
! ./vuserinfo pippo@test.com >/dev/null || fail "the account is still there"

row 3.3 "domains: vdeldomain"
./vdeldomain altro.test
./vdeldomain test.com
[ ! -e $V/domains/test.com ] || fail "the domain's folder is still there"
! grep -q test.com /var/qmail/control/virtualdomains /var/qmail/users/assign || fail "the domain is still named"
killall qmail-send
