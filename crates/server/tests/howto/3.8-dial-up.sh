# 3.8: a host behind a line that is up now and then, and its provider: two machines with a cable between them.
. "$LIB/lib.sh"
network 2
machine ufficio.test 10.9.0.1
machine provider.test 10.9.0.2

on provider.test '
user davide segreto
user altro segreto
printf "10.9.0.1:allow,RELAYCLIENT=\"\"\n:allow\n" | tcprules /etc/tcp.smtp.cdb /etc/tcp.smtp.tmp
servers'
on ufficio.test '
user pippo segreto
user davide segreto
servers'

row 3.8 "dial-up: the recipe"
on ufficio.test '
maildirmake ~alias/pppdir
chown -R alias ~alias/pppdir
echo "./pppdir/" > ~alias/.qmail-ppp-default
echo ":alias-ppp" >> /var/qmail/control/virtualdomains
kill -HUP $(engine)'
# HUP has no answer: mail for the world lies in the Maildir from the moment that it counts.
on ufficio.test '
sent=0
tried() { [ "$(grep -c "qmail: .* delivery [0-9]*: " /var/log/maillog)" -ge $sent ]; }
arrives() {
    echo "Subject: first" | /var/qmail/bin/qmail-inject -f pippo@ufficio.test davide@provider.test
    sent=$((sent + 1))
    eventually tried
    [ -n "$(find /var/qmail/alias/pppdir/new -type f)" ]
}
eventually arrives
rm -f /var/qmail/alias/pppdir/new/*'

row 3.8 "dial-up: local mail goes at once, other mail waits in the Maildir"
on ufficio.test '
for n in 1 2 3; do echo "Subject: for the world $n" | /var/qmail/bin/qmail-inject -f pippo@ufficio.test davide@provider.test; done
echo "Subject: for us" | /var/qmail/bin/qmail-inject -f pippo@ufficio.test davide@ufficio.test
eventually one_file_in /home/davide/Maildir/new
eventually files_in 3 /var/qmail/alias/pppdir/new
file=$(find /var/qmail/alias/pppdir/new -type f | head -n 1)
is "$(head -n 2 "$file")" "Return-Path: <pippo@ufficio.test>
Delivered-To: alias-ppp-davide@provider.test"'

row 3.8 "maildirsmtp: the line is down, everything stays"
on ufficio.test '
ip link set eth0 down
code=0
timeout 50 /usr/local/bin/serialmail/maildirsmtp ~alias/pppdir alias-ppp- 10.9.0.2 ufficio.test 2>/var/log/serial || code=$?
is "$code" 111
files_in 3 /var/qmail/alias/pppdir/new || fail "mail is gone"
ip link set eth0 up
ip route replace 10.9.0.0/24 dev eth0 || true'

row 3.8 "maildirsmtp from ip-up: all goes, each leaves when the provider has it"
on ufficio.test '
mkdir -p /etc/ppp
cat >/etc/ppp/ip-up <<END
#!/bin/sh
/usr/local/bin/serialmail/maildirsmtp ~alias/pppdir alias-ppp- 10.9.0.2 ufficio.test
END
chmod 755 /etc/ppp/ip-up
/etc/ppp/ip-up 2>/var/log/serial
files_in 0 /var/qmail/alias/pppdir || fail "mail is still there"
is "$(grep -c "succeeded: 10.9.0.2 to: davide@provider.test said: 250 ok" /var/log/serial)" 3'
on provider.test '
eventually files_in 3 /home/davide/Maildir/new
file=$(grep -l "Subject: for the world 2" /home/davide/Maildir/new/*)
has "$file" "Return-Path: <pippo@ufficio.test>"
has "$file" "Delivered-To: davide@provider.test"
has "$file" "(HELO ufficio.test)"
! grep -q "Delivered-To: alias-ppp" "$file" || fail "the envelope of the waiting Maildir went out"'

row 3.8 "maildirsmtp: what the provider refuses comes back to its sender"
on ufficio.test '
echo "Subject: nobody there" | /var/qmail/bin/qmail-inject -f pippo@ufficio.test x@elsewhere.test
eventually files_in 1 /var/qmail/alias/pppdir/new'
# For this host the provider relays no more.
on provider.test 'echo ":allow" | tcprules /etc/tcp.smtp.cdb /etc/tcp.smtp.tmp'
on ufficio.test '
/etc/ppp/ip-up 2>/var/log/serial
has /var/log/serial " bounced: 10.9.0.2 to: x@elsewhere.test said: 553 sorry"
eventually one_file_in /home/pippo/Maildir/new
has "$(find /home/pippo/Maildir/new -type f)" "x@elsewhere.test"'

row 3.8 "fetch: getmail brings the provider's mailbox into a Maildir here"
on provider.test 'eventually settled /home/davide/Maildir'
on ufficio.test '
getmail_config pippo 10.9.0.2 davide
su pippo -c "getmail -q"
is "$(grep -l "Subject: for the world" /home/pippo/Maildir/new/* | wc -l)" 3'
on provider.test 'files_in 0 /home/davide/Maildir/new && files_in 0 /home/davide/Maildir/cur || fail "mail stayed at the provider"'
