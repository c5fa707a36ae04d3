# `postino install-compat`: what it makes, that a second run changes nothing, whose files it leaves, and the way back.
. "$LIB/lib.sh"
layers mail.pluto.test
REAL=$(stat -c %i /usr/bin/true)

row 3.2 "dry run"
"$POSTINO" install-compat --dry-run >/dev/null
[ ! -e /var/qmail ] || fail "a dry run made the home"

row 3.3 "ids taken: said, and nothing is made"
groupadd -g 89 postdrop89
useradd -r -u 89 -g 89 -M somebody
! out=$("$POSTINO" install-compat 2>&1) || fail "it took a number that belongs to another"
contains "$out" "uid 89 belongs to the account somebody: choose another with --uid vpopmail=NUMBER"
contains "$out" "gid 89 belongs to the group postdrop89"
[ ! -e /var/qmail ] || fail "it made something before it refused"

row 3.3 "ids taken: the given ones are used"
"$POSTINO" install-compat --uid vpopmail=1089 --gid vchkpw=1090 >/var/log/first
is "$(id -u vpopmail):$(id -g vpopmail):$(id -gn vpopmail)" 1089:1090:vchkpw
is "$(getent passwd vpopmail | cut -d: -f6)" /home/vpopmail
is "$(getent passwd alias | cut -d: -f6)" /var/qmail/alias
for u in alias qmaild qmaill qmailp; do is "$(id -gn $u)" nofiles; done
for u in qmailq qmailr qmails; do is "$(id -gn $u)" qmail; done

row 3.2 "files of their own"
for f in /usr/local/bin/tcpserver /var/qmail/bin/qmail-queue /var/qmail/bin/qmail-send /var/qmail/bin/qmail-smtpd /bin/checkpassword; do
    is "$(stat -c %h $f)" 1
done
[ "$(stat -c %h /var/qmail/bin/forward)" -gt 10 ] || fail "forward is no link"
is "$(stat -c %U:%G:%a /var/qmail/bin/qmail-queue)" root:qmail:2755
is "$(stat -c %G:%a /var/qmail/queue/drop)" qmail:3730
is "$(stat -c %U:%s /var/qmail/queue/lock/tcpto)" qmailr:1024
is "$(readlink /usr/sbin/sendmail)" /var/qmail/bin/sendmail
[ -x /usr/local/bin/serialmail/maildirsmtp ] && [ -x /var/qmail/rc ] || fail "maildirsmtp or rc is missing"
for name in $("$BIN/postino-compat" --list); do
    [ -x /var/qmail/bin/$name ] || [ -x /usr/local/bin/$name ] || [ -x /bin/$name ] || [ -x /home/vpopmail/bin/$name ] || fail "$name is missing"
done
# The number 1089 is no word of the documentation: the file says what the engine works as.
has /var/qmail/control/server.toml 'user = "qmails"'

row 3.2 "again: nothing changes"
find /var/qmail /usr/local /bin/checkpassword -type f ! -name install-compat.json -printf '%p %i %T@ %m\n' | sort >/var/before
"$POSTINO" install-compat >/var/log/second
find /var/qmail /usr/local /bin/checkpassword -type f ! -name install-compat.json -printf '%p %i %T@ %m\n' | sort >/var/after
cmp /var/before /var/after
contains "$(tail -n 1 /var/log/second)" "0 done"

row 3.9 "a replaced qmail-queue stays, the one behind it is kept up to date"
cd /var/qmail/bin
mv qmail-queue qmail-queue-real
printf '#!/bin/sh\nexec /var/qmail/bin/qmail-queue-real\n' >qmail-queue
chmod 755 qmail-queue
echo "# mine" >>/var/qmail/rc
printf '#!/bin/sh\n' >qmail-smtpd
printf x >>"$BIN/postino-compat"
out=$("$POSTINO" install-compat)
contains "$out" "left      /var/qmail/bin/qmail-queue: stands before qmail-queue-real"
contains "$out" "replaced  /var/qmail/bin/qmail-queue-real"
contains "$out" "replaced  /usr/local/bin/tcpserver"
contains "$out" "left      /var/qmail/bin/qmail-smtpd"
is "$(cat qmail-smtpd)" "#!/bin/sh"
is "$(tail -n 1 /var/qmail/rc)" "# mine"
is "$(stat -c %a qmail-queue-real)" 2755
is "$(stat -c %h forward)" "$(stat -c %h preline)"

row 3.2 "by force, and back"
"$POSTINO" install-compat --force >/dev/null
cmp qmail-smtpd "$BIN/postino-compat"
has qmail-queue "exec /var/qmail/bin/qmail-queue-real"
rm /usr/sbin/sendmail
cp -a /usr/bin/true /usr/sbin/sendmail
out=$("$POSTINO" install-compat)
contains "$out" "left      /usr/sbin/sendmail: another mailer's"
"$POSTINO" install-compat --sendmail >/dev/null
is "$(readlink /usr/sbin/sendmail)" /var/qmail/bin/sendmail
"$POSTINO" install-compat --remove >/dev/null
cmp /usr/sbin/sendmail /usr/bin/true
is "$(cat qmail-smtpd)" "#!/bin/sh"
for f in /usr/local/bin/tcpserver /bin/checkpassword qmail-send qmail-queue-real forward; do [ ! -e $f ] || fail "$f is still there"; done
is "$(find /var/qmail/man /var/qmail/boot /var/qmail/queue/lock/tcpto -type f 2>/dev/null)" ""
is "$(tail -n 1 /var/qmail/rc)" "# mine"
[ -d /var/qmail/control ] && [ -d /var/qmail/queue ] || fail "mail or settings were taken away"

row 3.2 "a machine with qmail's own programs is not taken over by halves"
cp /usr/bin/true qmail-send
! out=$("$POSTINO" install-compat 2>&1) || fail "it installed beside qmail's own qmail-send"
contains "$out" "qmail is installed here"

row 3.2 "below a root"
"$POSTINO" install-compat --root /var/package --json >/var/log/json
[ -x /var/package/usr/local/bin/tcpserver ] && [ -x /var/package/bin/checkpassword ] || fail "nothing below the root"
has /var/log/json '"action": "made"'
mkdir -p /var/machine/etc
printf 'root:x:0:0:root:/root:/bin/sh\n' >/var/machine/etc/passwd
printf 'root:x:0:\n' >/var/machine/etc/group
"$POSTINO" install-compat --root /var/machine >/dev/null
has /var/machine/etc/passwd vpopmail:!:89:89:
is "$(stat -c %u:%a /var/machine/var/qmail/bin/qmail-queue)" "0:2755"
mkdir -p /var/trap/usr/local
ln -s /home /var/trap/usr/local/bin
! out=$("$POSTINO" install-compat --root /var/trap 2>&1) || fail "it went out of its root"
contains "$out" "leads out of"
printf '{"files": {"/../../victim": {"bytes": 1, "modified_s": 0}}}' >/var/machine/var/qmail/install-compat.json
! out=$("$POSTINO" install-compat --root /var/machine --remove 2>&1) || fail "it believed a record that leads out of the root"
contains "$out" "no file that install-compat made"
