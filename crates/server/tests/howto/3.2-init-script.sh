# 3.2: the init script as printed (errata 58, 60, 67 and 98: a blank before Maildir, RETVAL on a line of its own, bash, chown), with `postino serve` of
# another home beside it.
. "$LIB/lib.sh"
qmail_machine duke.dukestation.test
beside
user davide segreto
user pippo pluto
mkdir -p /var/lock/subsys /etc/init.d

cat >/etc/init.d/qmail <<'END'
#!/bin/bash
# start script for qmail
#
PATH=/usr/local/bin:/var/qmail/bin:$PATH

[ -f /var/qmail/bin/qmail-smtpd ] || exit 0

RETVAL=0
prog="qmail"
hostname=`hostname`

start() {
# Start daemons.
echo -n $"Starting $prog: "

QMAILDUID=`id -u qmaild`
NOFILESGID=`id -g qmaild`
csh -cf '/var/qmail/rc &'
/usr/local/bin/tcpserver -H -R -x /etc/tcp.smtp.cdb -u$QMAILDUID -g$NOFILESGID 0 smtp /var/qmail/bin/qmail-smtpd & >/dev/null 2>&1
/usr/local/bin/tcpserver -v -H -R 0 pop3 /var/qmail/bin/qmail-popup $hostname /bin/checkpassword /var/qmail/bin/qmail-pop3d Maildir 2>&1 | /var/qmail/bin/splogger pop3d &

echo -n "qmail "
RETVAL=$?
echo
[ $RETVAL -eq 0 ] && touch /var/lock/subsys/svscan
return $RETVAL
}

stop() {
# Stop daemons.
echo -n $"Shutting down $prog: "
killall qmail-send
killall /usr/local/bin/tcpserver
RETVAL=$?
echo
[ $RETVAL -eq 0 ] && rm -f /var/lock/subsys/svscan
return $RETVAL
}

# See how we were called.
case "$1" in
start)
start
;;
stop)
stop
;;
restart|reload)
stop
start
RETVAL=$?
;;
*)
echo $"Usage: $0 {start|stop|restart}"
exit 1
esac

exit $RETVAL
END
chown root:root /etc/init.d/qmail
chmod 755 /etc/init.d/qmail

row 3.2 "small print: usage text and exit 1"
code=0
out=$(/etc/init.d/qmail) || code=$?
is "$code:$out" "1:Usage: /etc/init.d/qmail {start|stop|restart}"

row 3.2 "init script: start"
/etc/init.d/qmail start >/var/log/start 2>&1
has /var/log/start "Starting qmail: "
has /var/log/start "qmail "
[ -e /var/lock/subsys/svscan ] || fail "no lock file"
eventually answers 25
eventually answers 110
eventually has /var/log/maillog "status: local 0/10 remote 0/20"
for p in qmail-send tcpserver splogger; do pgrep -x $p >/dev/null || fail "$p does not run"; done
is "$(ps -o user:20= -p "$(pgrep -xn tcpserver -U qmaild)")" qmaild
# Every part of the engine that speaks with somebody works as another account than root.
contains "$(ps -eo user:20=,comm=)" "qmails"

row 3.2 "init script: mail in by qmail-smtpd, out by qmail-pop3d, lines by splogger"
dial 25 >/var/log/smtp <<'END'
HELO pippo.com
MAIL FROM:<pluto@pippo.com>
RCPT TO:<davide@duke.dukestation.test>
DATA
Subject: one

prova123
.
QUIT
END
has /var/log/smtp "250 ok"
eventually one_file_in /home/davide/Maildir/new
is "$(stat -c %U /home/davide/Maildir/new/*)" davide
for line in "qmail: " " new msg " " info msg " "from <pluto@pippo.com> qp " " starting delivery 1: msg " "to local davide@duke.dukestation.test" "success: did_1+0+0/" " end msg "; do
    eventually has /var/log/maillog "$line"
done
eventually settled /home/davide/Maildir
printf 'USER davide\nPASS segreto\nSTAT\nDELE 1\nQUIT\n' | dial 110 >/var/log/pop3
is "$(grep -c '^+OK' /var/log/pop3)" 6
eventually files_in 0 /home/davide/Maildir
# qmail-popup ends with 1 also when all went well.
for line in "pop3d: " "tcpserver: status: 1/40" "tcpserver: pid " " from 127.0.0.1" "tcpserver: ok " ":127.0.0.1:110 :127.0.0.1::" " status 256"; do
    eventually has /var/log/maillog "$line"
done

row 3.2 "small print: restart, reload"
for word in restart reload; do
    before=$(pgrep -x qmail-send | head -n 1)
    /etc/init.d/qmail $word >/dev/null 2>&1
    eventually answers 25
    eventually answers 110
    # The new engine waits for nobody: what it says first comes after the old one's last word.
    new_engine() { now=$(pgrep -x qmail-send | head -n 1) && [ "$now" != "$before" ]; }
    eventually new_engine
    beside_untouched
done

row 3.2 "after a restart mail goes as before"
# Whoever injects now waits for no daemon.
echo "Subject: two" | /var/qmail/bin/qmail-inject -f pluto@pippo.com davide
eventually one_file_in /home/davide/Maildir/new

row 3.2 "init script: stop ends them and nothing else"
/etc/init.d/qmail stop >/dev/null
[ ! -e /var/lock/subsys/svscan ] || fail "the lock file is still there"
gone_all() { ! pgrep -f "/var/qmail/bin/|/usr/local/bin/tcpserver" >/dev/null; }
eventually gone_all
eventually silent 25
silent 110 || fail "somebody still answers on 110"
is "$(grep -c 'status: exiting' /var/log/maillog)" 3
beside_untouched

row 2 "with qmail-send stopped qmail-queue still takes mail, for everybody"
su pippo -c 'echo "Subject: three" | /var/qmail/bin/qmail-inject davide'
files_in 1 /var/qmail/queue/drop || fail "nothing lies in the drop directory"
/etc/init.d/qmail start >/dev/null 2>&1
eventually files_in 2 /home/davide/Maildir/new
has "$(grep -l three /home/davide/Maildir/new/*)" "From: pippo@duke.dukestation.test"
/etc/init.d/qmail stop >/dev/null
eventually gone_all
beside_untouched

row 3.9 "limits: ulimit -v 32768 at the head of the script"
# The engine lifts it for itself; where root may not (containers), the test's unoptimised build of the engine needs a little more.
memory=32768
(ulimit -v 32768; ulimit -v unlimited) 2>/dev/null || memory=65536
sed -i "2i ulimit -v $memory" /etc/init.d/qmail
/etc/init.d/qmail start >/dev/null 2>&1
eventually answers 25
eventually answers 110
printf 'MAIL FROM:<pluto@pippo.com>\nRCPT TO:<davide@duke.dukestation.test>\nDATA\nSubject: four\n\n.\nQUIT\n' | dial 25 >/dev/null
eventually files_in 3 /home/davide/Maildir/new
eventually settled /home/davide/Maildir
is "$(printf 'USER davide\nPASS segreto\nSTAT\nQUIT\n' | dial 110 | grep -c '^+OK')" 5
/etc/init.d/qmail stop >/dev/null
eventually gone_all
