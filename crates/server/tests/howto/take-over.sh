# A qmail machine is taken over and given back, as docs/take-over.md tells it. The machine's own programs are stand-ins: what counts is whose files they are.
. "$LIB/lib.sh"
layers vecchio.test
Q=/var/qmail

# Every name with its owner and mode, files with their sizes, too.
state() { find $Q /usr/local/bin/tcpserver ! -path $Q \( -type d -printf '%p %U:%G %m\n' -o -printf '%p %U:%G %m %s\n' \) | sort; }

# What qmail's and vpopmail's own installation leave.
groupadd -r qmail; groupadd -r nofiles; groupadd -g 89 vchkpw
useradd -r -g nofiles -d $Q/alias -M alias
for u in qmaild qmaill qmailp; do useradd -r -g nofiles -d $Q -M $u; done
for u in qmailq qmailr qmails; do useradd -r -g qmail -d $Q -M $u; done
useradd -g vchkpw -u 89 -d /home/vpopmail -m vpopmail
mkdir -p $Q/{alias,bin,boot,control,users} $Q/queue/{bounce,info/0,intd,local/0,lock,mess/0,pid,remote/0,todo}
chown -R qmails:qmail $Q/queue
chown qmailq:qmail $Q/queue $Q/queue/{lock,pid,intd,todo,mess}
chmod 750 $Q/queue $Q/queue/lock
: >$Q/queue/lock/sendmutex; chown qmails:qmail $Q/queue/lock/sendmutex; chmod 600 $Q/queue/lock/sendmutex
mkfifo $Q/queue/lock/trigger
for f in qmail-send qmail-start qmail-smtpd qmail-inject qmail-local qmail-popup qmail-pop3d; do printf '#!/bin/sh\n# old %s\n' $f >$Q/bin/$f; done
cp /usr/bin/true $Q/bin/qmail-queue; chown qmailq:qmail $Q/bin/qmail-queue; chmod 4711 $Q/bin/qmail-queue
cp /usr/bin/true /usr/local/bin/tcpserver
cp /usr/bin/true $Q/bin/dot-forward
printf '#!/bin/sh\nexec env - PATH="/var/qmail/bin:$PATH" qmail-start ./Maildir/ splogger qmail\n' >$Q/rc; chmod 755 $Q/rc
echo vecchio.test | tee $Q/control/me $Q/control/locals $Q/control/rcpthosts >/dev/null
echo virtuale.test >>$Q/control/rcpthosts
echo virtuale.test:virtuale.test >$Q/control/virtualdomains
echo "&davide" >$Q/alias/.qmail-postmaster
user_old() { useradd -m -s /bin/sh "$1"; echo "$1:segreto" | chpasswd; mkdir -m 700 -p /home/"$1"/Maildir/{tmp,new,cur}; chown -R "$1": /home/"$1"; }
user_old davide
V=/home/vpopmail
mkdir -p $V/domains/virtuale.test/pippo/Maildir/{tmp,new,cur} $V/etc $V/bin
printf 'pippo:%s:1:0:pippo:%s:NOQUOTA\n' "$(openssl passwd -1 segreto)" $V/domains/virtuale.test/pippo >$V/domains/virtuale.test/vpasswd
echo "| $V/bin/vdelivermail '' bounce-no-mailbox" >$V/domains/virtuale.test/.qmail-default
chown -R vpopmail:vchkpw $V
printf '+virtuale.test-:virtuale.test:89:89:%s:-::\n.\n' $V/domains/virtuale.test >$Q/users/assign
state >/var/old

row "take-over" "refused while nobody says that it is meant"
! out=$("$POSTINO" install-compat 2>&1) || fail "it went ahead"
contains "$out" "qmail is installed here"
state | diff /var/old - >&2

row "take-over" "by force: ours in their places, theirs kept, settings and mail untouched"
"$POSTINO" install-compat --force >/var/log/install
# qmail-newu belongs to the move: users/cdb must be root's.
$Q/bin/qmail-newu
cmp $Q/bin/qmail-smtpd "$BIN/postino-compat"
is "$(stat -c %U:%a $Q/before-postino/var/qmail/bin/qmail-queue)" qmailq:4711
has $Q/rc "qmail-start ./Maildir/ splogger qmail"
cmp $Q/bin/dot-forward /usr/bin/true
is "$(cat $Q/control/me)" vecchio.test

row "take-over" "the old start script runs the new programs: system users, aliases, virtual domains' POP3"
syslog
sh -c "$Q/rc &"
eventually has /var/log/maillog "status: local"
found() { grep -lrs "^Subject: $2\$" "$1" >/dev/null; }
echo "Subject: uno" | $Q/bin/qmail-inject -f a@b.test davide
echo "Subject: due" | $Q/bin/qmail-inject -f a@b.test postmaster
eventually found /home/davide/Maildir/new uno
eventually found /home/davide/Maildir/new due
kill "$(engine)"
eventually has /var/log/maillog "status: exiting"

row "take-over" "natively: postino serve on the same home, with vpopmail's tree"
echo $V >$Q/control/vpopmail-home
cat >$Q/control/server.toml <<'END'
user = "vpopmail"
[listen]
submission = []
submissions = []
pop3s = []
http = []
END
"$POSTINO" check
"$POSTINO" serve >/var/log/beside 2>&1 &
SERVER=$!
eventually answers 25
printf 'HELO x\nMAIL FROM:<a@b.test>\nRCPT TO:<pippo@virtuale.test>\nRCPT TO:<davide@vecchio.test>\nRCPT TO:<nessuno@virtuale.test>\nDATA\nSubject: tre\n\n.\nQUIT\n' | dial 25 >/var/log/smtp
is "$(grep -c '^250' /var/log/smtp)" 5
is "$(grep -c '^550' /var/log/smtp)" 1
eventually found $V/domains/virtuale.test/pippo/Maildir/new tre
eventually found /home/davide/Maildir/new tre
! has /var/log/beside "uid=$(id -u qmailq)" || fail "bin/qmail-queue was taken for a stranger's"
contains "$(printf 'USER pippo@virtuale.test\nPASS segreto\nSTAT\nQUIT\n' | dial 110)" "+OK 1 "
# Local programs find the server by its socket, and the drop directory's new group by another run.
"$POSTINO" install-compat >/dev/null
is "$(stat -c %G $Q/queue/drop):$(stat -c %G $Q/bin/qmail-queue)" vchkpw:vchkpw
su davide -c "echo 'Subject: quattro' | $Q/bin/qmail-inject davide"
eventually found /home/davide/Maildir/new quattro
kill $SERVER
wait $SERVER || true
su davide -c "echo 'Subject: cinque' | $Q/bin/qmail-inject davide"
files_in 1 $Q/queue/drop || fail "nothing waits for the server"
rm -f $Q/queue/drop/*

row "take-over" "and back"
"$POSTINO" queue stat --empty || fail "the queue is not empty"
"$POSTINO" install-compat --remove >/dev/null
rm -f $Q/control/server.toml $Q/control/vpopmail-home
chown qmailq:qmail $Q/queue $Q/queue/lock
chown qmails:qmail $Q/queue/lock/sendmutex
state >/var/new
# Everything that was there is there again, as it was.
is "$(comm -23 /var/old /var/new)" ""
