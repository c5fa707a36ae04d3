# 3.10: the conversations of the chapter, typed by hand, and programs that hold them.
. "$LIB/lib.sh"
qmail_machine dukestation.test
beside
user davide segreto
user miky topo
echo mouse.test >>/var/qmail/control/locals
echo mouse.test >>/var/qmail/control/rcpthosts
csh -cf '/var/qmail/rc &'
tcpserver -H -R -x /etc/tcp.smtp.cdb -u"$(id -u qmaild)" -g"$(id -g qmaild)" 0 smtp /var/qmail/bin/qmail-smtpd 2>/dev/null &
tcpserver -v -H -R 0 pop3 /var/qmail/bin/qmail-popup "$(hostname)" /bin/checkpassword /var/qmail/bin/qmail-pop3d Maildir 2>&1 | /var/qmail/bin/splogger pop3d &
eventually answers 25
eventually answers 110
eventually has /var/log/maillog "status: local"

row 3.10 "SMTP dialogue"
out=$(dial 25 <<'END'
HELO pippo.com
MAIL FROM:<pluto@pippo.com>
RCPT TO:<miky@mouse.test>
DATA
Date: Tue, 26 Dec 2000 11:59:00 +0100
Subject: prova
To: elsewhere@falso.com
From: pluto@pippo.com

prova123

.
QUIT
END
)
is "$(sed 's/ok [0-9]* qp [0-9]*/ok N qp N/' <<<"$out")" "220 dukestation.test ESMTP
250 dukestation.test
250 ok
250 ok
354 go ahead
250 ok N qp N
221 dukestation.test"
eventually one_file_in /home/miky/Maildir/new
eventually settled /home/miky/Maildir

row 3.10 "POP3 dialogue"
printf 'USER miky\nPASS topo\nLIST\nRETR 1\nRETR\nQUIT\n' | dial 110 >/var/log/pop3
sed -E 's/<[0-9]+\.[0-9]+@dukestation\.test>/<P.T@dukestation.test>/; s/[0-9]+ [A-Z][a-z]+ 20[0-9]+ [0-9:]+ -0000/DATE/; s/qmail [0-9]+ invoked/qmail N invoked/; s/^1 [0-9]+$/1 SIZE/; s/ *$//' /var/log/pop3 >/var/log/seen
cat >/var/log/wanted <<'END'
+OK <P.T@dukestation.test>
+OK
+OK
+OK
1 SIZE
.
+OK
Return-Path: <pluto@pippo.com>
Delivered-To: miky@mouse.test
Received: (qmail N invoked from network); DATE
Received: from unknown (HELO pippo.com) (127.0.0.1)
  by 127.0.0.1 with SMTP; DATE
Date: Tue, 26 Dec 2000 11:59:00 +0100
Subject: prova
To: elsewhere@falso.com
From: pluto@pippo.com

prova123


.
-ERR syntax error
+OK
END
diff -u /var/log/wanted /var/log/seen >&2

row 3.10 "who wrote it: the envelope's recipient is in the message, whatever To says"
MAIL=$(find /home/miky/Maildir/cur -type f)
has "$MAIL" "Delivered-To: miky@mouse.test"
has "$MAIL" "To: elsewhere@falso.com"

row 3.10 "POP3 dialogue: a wrong password, and commands before the login"
contains "$(printf 'LIST\nUSER miky\nPASS wrong\n' | dial 110)" "-ERR authorization first
+OK 
-ERR authorization failed"

row 3.10 "APOP: the digest of the banner's stamp and the password, checked by vchkpw"
/home/vpopmail/bin/vadddomain pippo.test segreto
/home/vpopmail/bin/vadduser topolino@pippo.test topo
# To vchkpw a client at 127.0.0.1 is a web server's, which has no APOP: these come from another address.
BOX=$(/home/vpopmail/bin/vuserinfo -d topolino@pippo.test)/Maildir
cp -p "$(find /home/miky/Maildir/cur -type f)" "$BOX/new/1.2.dukestation.test"
chown --reference="$BOX" "$BOX/new/1.2.dukestation.test"
tcpserver -H -R -l dukestation.test 127.0.0.1 1110 /var/qmail/bin/qmail-popup dukestation.test /home/vpopmail/bin/vchkpw /var/qmail/bin/qmail-pop3d Maildir 2>/dev/null &
eventually answers 1110
python3 - <<'END'
import poplib, socket
real = socket.create_connection
socket.create_connection = lambda address, *rest, **named: real(address, source_address=("127.0.0.2", 0))
for password, right in (("topo", True), ("toto", False)):
    client = poplib.POP3("127.0.0.1", 1110)
    assert client.welcome.startswith(b"+OK <") and client.welcome.endswith(b"@dukestation.test>"), client.welcome
    try:
        answer = client.apop("topolino@pippo.test", password)
        assert right and answer.startswith(b"+OK "), answer
        assert client.stat()[0] == 1
        client.quit()
    except poplib.error_proto as error:
        assert not right and b"authorization failed" in error.args[0], error
END

row 3.10 "TLS: behind stunnel, as a program that it starts and as a port that it passes on to"
openssl req -new -x509 -nodes -days 2 -newkey rsa:2048 -subj /CN=dukestation.test -keyout /etc/stunnel.key -out /etc/stunnel.crt 2>/dev/null
cat /etc/stunnel.key /etc/stunnel.crt >/etc/stunnel.pem
chmod 600 /etc/stunnel.pem
stunnel3 -f -p /etc/stunnel.pem -d 127.0.0.1:465 -r 127.0.0.1:25 2>/var/log/stunnel &
stunnel3 -f -p /etc/stunnel.pem -d 127.0.0.1:995 -l /var/qmail/bin/qmail-popup -- dukestation.test /home/vpopmail/bin/vchkpw /var/qmail/bin/qmail-pop3d Maildir 2>>/var/log/stunnel &
python3 - <<'END'
import poplib, smtplib, socket, ssl, time
real = socket.create_connection
socket.create_connection = lambda address, *rest, **named: real(address, source_address=("127.0.0.2", 0))
context = ssl._create_unverified_context()
def within(seconds, act):
    end = time.monotonic() + seconds
    while True:
        try:
            return act()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
smtp = within(60, lambda: smtplib.SMTP_SSL("127.0.0.1", 465, context=context))
smtp.sendmail("pluto@pippo.com", ["davide@dukestation.test"], "Subject: by-stunnel\r\n\r\nx\r\n")
smtp.quit()
pop = within(60, lambda: poplib.POP3_SSL("127.0.0.1", 995, context=context))
pop.apop("topolino@pippo.test", "topo")
assert pop.stat()[0] == 1 and b"Subject: prova" in pop.retr(1)[1]
pop.quit()
END
eventually one_file_in /home/davide/Maildir/new
MAIL=$(find /home/davide/Maildir/new -type f)
has "$MAIL" "Subject: by-stunnel"
rm "$MAIL"

row 3.10 "clients: mailx sends by sendmail, getmail fetches"
echo pippo | s-nail -Sv15-compat -Smta=/usr/sbin/sendmail -s by-mailx davide@dukestation.test
eventually one_file_in /home/davide/Maildir/new
MAIL=$(find /home/davide/Maildir/new -type f)
has "$MAIL" "Return-Path: <root@dukestation.test>"
eventually settled /home/davide/Maildir
su miky -c "mkdir -m 700 ~/.getmail ~/fetched ~/fetched/tmp ~/fetched/new ~/fetched/cur && cat >~/.getmail/getmailrc" <<'END'
[retriever]
type = SimplePOP3Retriever
server = 127.0.0.1
username = davide
password = segreto
[destination]
type = Maildir
path = ~/fetched/
[options]
delete = true
END
su miky -c "getmail -q"
has "$(find /home/miky/fetched/new -type f)" "Subject: by-mailx"
files_in 0 /home/davide/Maildir/new || fail "getmail left the message"
files_in 0 /home/davide/Maildir/cur || fail "getmail left the message"

row 3.10 "signed mail passes untouched"
python3 - >/var/signed <<'END'
import sys
sys.stdout.write("From: a@b.c\nTo: davide@dukestation.test\nSubject: signed\nContent-Type: multipart/signed; boundary=x\n\n")
sys.stdout.write("--x\n\nFrom the start \n.\n..dots\n\ttrailing  \n8 bit: \xe8\n--x\nContent-Type: application/pgp-signature\n\n-----BEGIN\n=AbCd\n-----END\n--x--\n")
END
{ printf 'HELO a\nMAIL FROM:<a@b.c>\nRCPT TO:<davide@dukestation.test>\nDATA\n'; sed 's/^\./../' /var/signed; printf '.\nQUIT\n'; } | dial 25 >/dev/null
eventually one_file_in /home/davide/Maildir/new
sed '1,/^  by /d' "$(find /home/davide/Maildir/new -type f)" | cmp - /var/signed
beside_untouched
