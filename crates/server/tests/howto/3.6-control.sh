# 3.6: the control files that the chapter names, and config-fast.
. "$LIB/lib.sh"
qmail_machine duke.dukestation.test
user davide segreto
user pippo pluto
Q=/var/qmail
start() { env - PATH="$Q/bin:$PATH" qmail-start ./Maildir/ splogger qmail & ENGINE=$!; eventually has /var/log/maillog "status: local"; }
smtpd() { tcpserver -H -R -x /etc/tcp.smtp.cdb -u"$(id -u qmaild)" -g"$(id -g qmaild)" 0 smtp $Q/bin/qmail-smtpd 2>/dev/null & eventually answers 25; }

row 3.6 "config-fast makes the basic files"
is "$(cat $Q/control/me $Q/control/locals $Q/control/rcpthosts)" "duke.dukestation.test
duke.dukestation.test
duke.dukestation.test"
is "$(cat $Q/control/defaultdomain):$(cat $Q/control/plusdomain)" dukestation.test:dukestation.test

start
smtpd

row 3.6 "me: the name in the greeting and in HELO"
is "$(printf 'HELO x\nQUIT\n' | dial 25)" "220 duke.dukestation.test ESMTP
250 duke.dukestation.test
221 duke.dukestation.test"

row 3.6 "locals: the hosts whose mail is ours (after HUP)"
echo second.test >>$Q/control/locals
try() { printf 'MAIL FROM:<a@b.c>\nRCPT TO:<%s>\nDATA\nSubject: %s\n\n.\nQUIT\n' "$1" "$2" | dial 25 "${3:-127.0.0.1}"; }
# hup_shows MAILDIR SUBJECT TO: after HUP such mail arrives there; who sends too soon is still under the old rules.
hup_shows() {
    kill -HUP "$(engine)"
    arrives() { found "$1" "$2" || { echo "Subject: $2" | $Q/bin/qmail-inject "$3"; sleep 0.2; found "$1" "$2"; }; }
    eventually arrives "$@"
}
found() { grep -qrs "^Subject: $2\$" "$1"; }
hup_shows /home/davide/Maildir/new by-locals davide@second.test

row 3.6 "rcpthosts: others are refused; RELAYCLIENT overrides"
# From an address of this machine that the rules give no RELAYCLIENT.
ip addr add 10.9.8.7/32 dev lo
contains "$(printf 'MAIL FROM:<a@b.c>\nRCPT TO:<x@elsewhere.test>\nQUIT\n' | dial 25 10.9.8.7)" "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)"
contains "$(printf 'MAIL FROM:<a@b.c>\nRCPT TO:<x@elsewhere.test>\nQUIT\n' | dial 25 127.0.0.1)" "250 ok
250 ok"
contains "$(try davide@duke.dukestation.test from-outside 10.9.8.7)" "250 ok 1"
eventually found /home/davide/Maildir/new from-outside

row 3.6 "virtualdomains: a domain, and one address of another"
printf 'virtual.test:davide-list\none@third.test:pippo\n' >$Q/control/virtualdomains
printf 'virtual.test\nthird.test\n' >>$Q/control/rcpthosts
su davide -c 'echo ./Maildir/ >~/.qmail-list-default'
su pippo -c 'echo ./Maildir/ >~/.qmail-one'
hup_shows /home/davide/Maildir/new by-domain anybody@virtual.test
hup_shows /home/pippo/Maildir/new by-user one@third.test
has "$(grep -lrs '^Subject: by-domain$' /home/davide/Maildir/new | head -n 1)" "Delivered-To: davide-list-anybody@virtual.test"

row 3.6 "smtproutes: a host's mail goes to the relay that is named, at once"
ip addr add 10.9.8.8/32 dev lo
python3 "$LIB/sink.py" 10.9.8.8 2525 /var/log/sink &
eventually test -s /var/log/sink
echo 'far.test:10.9.8.8:2525' >$Q/control/smtproutes
echo 'Subject: by-route' | $Q/bin/qmail-inject -f davide@duke.dukestation.test x@far.test
eventually has /var/log/sink "Subject: by-route"
has /var/log/sink "MAIL FROM:<davide@duke.dukestation.test>"
has /var/log/sink "RCPT TO:<x@far.test>"
has /var/log/sink "HELO duke.dukestation.test"
eventually has /var/log/maillog "10.9.8.8_accepted_message./Remote_host_said:_250"

row 3.6 "every control file as qmail-showctl tells it"
out=$($Q/bin/qmail-showctl)
for line in "me: (/var/qmail/control/me:1)" "  second.test" "  virtual.test:davide-list" "  far.test:10.9.8.8:2525"; do
    contains "$out" "$line"
done
kill "$ENGINE"
