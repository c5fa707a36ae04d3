# Other people's programs over the historical ones: mailx and mutt through sendmail, telnet to qmail-smtpd under tcpserver, fetchmail, getmail and
# mpop from qmail-popup and qmail-pop3d.
. "$LIB/lib.sh"
qmail_machine mail.pluto.test
HOST=mail.pluto.test
user pippo segreto
user topolino segreto
/var/qmail/rc &
tcpserver -v -H -R -x /etc/tcp.smtp.cdb -u "$(id -u qmaild)" -g "$(id -g qmaild)" 0 smtp /var/qmail/bin/qmail-smtpd 2>/var/log/smtpd &
tcpserver -v -H -R 0 pop3 /var/qmail/bin/qmail-popup $HOST /bin/checkpassword /var/qmail/bin/qmail-pop3d Maildir 2>/var/log/pop3d &
eventually answers 25
eventually answers 110
mail_of() { files_in "$1" ~pippo/Maildir/new; }

row clients "mailx through sendmail"
printf 'set sendmail=/var/qmail/bin/sendmail\n' >~topolino/.mailrc
chown topolino: ~topolino/.mailrc
su topolino -c "echo 'a text' | s-nail -s 'by mailx' pippo@$HOST"
eventually mail_of 1
has ~pippo/Maildir/new/* "Subject: by mailx"
has ~pippo/Maildir/new/* "Return-Path: <topolino@$HOST>"
has ~pippo/Maildir/new/* "a text"

row clients "mailx with -r: sendmail -f"
su topolino -c "echo text | s-nail -r somebody@else.test -s 'by -r' pippo@$HOST"
eventually mail_of 2
eventually grep -rqF "Return-Path: <somebody@else.test>" ~pippo/Maildir/new

row clients "mutt through sendmail"
su topolino -c "echo text | mutt -e 'set sendmail=/var/qmail/bin/sendmail' -x -s 'by mutt' pippo@$HOST"
eventually grep -rqF "Subject: by mutt" ~pippo/Maildir/new

row clients "telnet to tcpserver and qmail-smtpd"
before=$(find ~pippo/Maildir/new -type f | wc -l)
out=$(dial 25 <<END
HELO laptop
MAIL FROM:<topolino@$HOST>
RCPT TO:<pippo@$HOST>
DATA
Subject: by telnet

..a dot
.
QUIT
END
)
contains "$out" "250 ok "
contains "$out" "221 $HOST"
eventually mail_of $((before + 1))
eventually grep -rqxF ".a dot" ~pippo/Maildir/new

row clients "swaks"
swaks --server 127.0.0.1 --from topolino@$HOST --to pippo@$HOST --header "Subject: by swaks" --hide-all
eventually grep -rqF "Subject: by swaks" ~pippo/Maildir/new

# qmail-pop3d leaves the mail of the running second for the next session.
all=$(find ~pippo/Maildir/new -type f | wc -l)
older() { [ -z "$(find ~pippo/Maildir/new -newermt '-2 seconds')" ]; }
eventually older

row clients "mpop takes all and keeps them"
mkdir -p /home/taken/mpop/new /home/taken/mpop/cur /home/taken/mpop/tmp /home/taken/getmail
mpop --host=127.0.0.1 --port=110 --tls=off --auth=user --user=pippo --passwordeval='echo segreto' --keep=on --quiet \
    --delivery=maildir,/home/taken/mpop --uidls-file=/home/taken/uidls </dev/null
files_in "$all" /home/taken/mpop/new || fail "mpop got $(find /home/taken/mpop -type f | wc -l) of $all"
grep -rqxF ".a dot" /home/taken/mpop/new

row clients "getmail takes all and keeps them"
chown -R topolino: /home/taken/getmail
mkdir -p ~topolino/.getmail && su topolino -c "/var/qmail/bin/maildirmake /home/taken/getmail/Maildir"
cat >~topolino/.getmail/getmailrc <<END
[retriever]
type = SimplePOP3Retriever
server = 127.0.0.1
port = 110
username = pippo
password = segreto
[destination]
type = Maildir
path = /home/taken/getmail/Maildir/
[options]
delete = false
read_all = false
verbose = 0
END
chown -R topolino: ~topolino/.getmail
su topolino -c getmail
files_in "$all" /home/taken/getmail/Maildir/new || fail "getmail got $(find /home/taken/getmail -type f | wc -l) of $all"
su topolino -c getmail
files_in "$all" /home/taken/getmail/Maildir/new || fail "getmail fetched something twice"

row clients "fetchmail takes all and leaves nothing"
cat >~topolino/.fetchmailrc <<END
poll 127.0.0.1 protocol pop3 auth password username "pippo" password "segreto" mda "cat >>/home/topolino/fetched" sslproto "" no rewrite
END
chown topolino: ~topolino/.fetchmailrc
chmod 600 ~topolino/.fetchmailrc
su topolino -c "fetchmail --silent --fetchall"
is "$(grep -c '^Return-Path: ' ~topolino/fetched)" "$all"
files_in 0 ~pippo/Maildir || fail "something is left"

row clients "a wrong password"
! su topolino -c "sed -i s/segreto/sbagliato/ ~/.getmail/getmailrc; getmail" >/var/log/wrong 2>&1 || fail "a wrong password was taken"
has /var/log/pop3d "end "
