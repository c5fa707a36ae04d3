# 3.7: a server outside, in the DMZ, and one inside that sends through it and fetches from it; then the outer one alone with another system's server inside.
. "$LIB/lib.sh"
network 3
machine interno.test 10.9.0.1
machine esterno.test 10.9.0.2
machine mondo.test 10.9.0.3

on mondo.test 'user amica segreto; servers'
on esterno.test '
user davide segreto
user pippo segreto
echo interno.test >>/var/qmail/control/locals
echo interno.test >>/var/qmail/control/rcpthosts
echo "mondo.test:10.9.0.3" >/var/qmail/control/smtproutes
printf "10.9.0.1:allow,RELAYCLIENT=\"\"\n:allow\n" | tcprules /etc/tcp.smtp.cdb /etc/tcp.smtp.tmp
servers'
on interno.test '
user davide segreto
user pippo segreto
user segreta segreto
servers'

row 3.7 "DMZ, two qmails: what is not local goes through the outer host"
on interno.test '
echo ":10.9.0.2" > /var/qmail/control/smtproutes
echo "Subject: fuori" | /var/qmail/bin/qmail-inject -f davide@interno.test amica@mondo.test
echo "Subject: dentro" | /var/qmail/bin/qmail-inject -f davide@interno.test pippo@interno.test
eventually one_file_in /home/pippo/Maildir/new
eventually has /var/log/maillog "10.9.0.2_accepted_message./Remote_host_said:_250_ok_"'
on mondo.test '
eventually one_file_in /home/amica/Maildir/new
file=$(find /home/amica/Maildir/new -type f)
has "$file" "Return-Path: <davide@interno.test>"
# Outer host, then inner one: by hand of nobody else.
is "$(grep -c "^Received: from" "$file")" 2
has "$file" "(10.9.0.2)"
has "$file" "(10.9.0.1)"
! grep -q "^Subject: dentro" "$file" || fail "inner mail came out"'

row 3.7 "DMZ: mail from the world waits outside, the inner server fetches it by schedule"
on mondo.test '
echo "interno.test:10.9.0.2" >/var/qmail/control/smtproutes
echo "Subject: risposta" | /var/qmail/bin/qmail-inject -f amica@mondo.test davide@interno.test'
on esterno.test 'eventually one_file_in /home/davide/Maildir/new; eventually settled /home/davide/Maildir'
on interno.test '
getmail_config davide 10.9.0.2 davide
# What cron starts every five minutes.
su davide -c "getmail -q"
su davide -c "getmail -q"
one_file_in /home/davide/Maildir/new || fail "not one message"
has "$(find /home/davide/Maildir/new -type f)" "Subject: risposta"'
on esterno.test 'files_in 0 /home/davide/Maildir/new || fail "mail stayed outside"'

row 3.7 "two hosts, same users: who has an account inside only is invisible outside"
on mondo.test '
user spia segreto
echo "Subject: chi sei" | /var/qmail/bin/qmail-inject -f spia@mondo.test segreta@interno.test
eventually one_file_in /home/spia/Maildir/new
has "$(find /home/spia/Maildir/new -type f)" "Sorry, no mailbox here by that name. (#5.1.1)"'
on interno.test '
echo "Subject: tra noi" | /var/qmail/bin/qmail-inject -f davide@interno.test segreta@interno.test
eventually one_file_in /home/segreta/Maildir/new'

row 3.7 "DMZ, foreign inner server: the outer host relays for it and serves its users by POP3"
# Another system inside: it speaks SMTP to the outer host and fetches by POP3.
on interno.test '
s-nail -Sv15-compat -Smta=smtp://10.9.0.2:25 -Ssmtp-auth=none -Shostname=interno.test -S from=davide@interno.test -s straniero amica@mondo.test </dev/null
python3 - <<END
import poplib
box = poplib.POP3("10.9.0.2", 110)
box.user("davide"); box.pass_("segreto")
assert box.stat()[0] == 0, box.stat()
END'
on mondo.test 'eventually files_in 2 /home/amica/Maildir/new; has "$(grep -l "^Subject: straniero" /home/amica/Maildir/new/*)" "(10.9.0.1)"'
row 3.7 "the outer host relays for nobody else"
on mondo.test 'contains "$(printf "MAIL FROM:<a@b.c>\nRCPT TO:<x@altrove.test>\nQUIT\n" | dial 25 10.9.0.2)" "553 sorry"'
