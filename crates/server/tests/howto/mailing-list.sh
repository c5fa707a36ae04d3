# A mailing list as users of qmail ran them: a script in .qmail files, VERP to find out whose address is dead, and exits 99, 100 and 111.
. "$LIB/lib.sh"
qmail_machine mail.pluto.test
HOST=mail.pluto.test
echo "far.test:127.0.0.1:2525" >/var/qmail/control/smtproutes
user pippo segreto
user topolino segreto

# far.test knows everybody but gone@far.test; what it is told stands in /var/log/far.
cat >/usr/local/bin/far.test <<'END'
#!/bin/sh
cr=$(printf '\r')
printf '220 far.test\r\n'
while IFS= read -r line; do
    echo "${line%$cr}" >>/var/log/far
    case $line in
    RCPT*gone@far.test*) printf '550 nobody here by that name\r\n' ;;
    DATA*)
        printf '354 go\r\n'
        while IFS= read -r line && [ "$line" != ".$cr" ]; do :; done
        printf '250 ok\r\n'
        ;;
    QUIT*) printf '221 bye\r\n'; exit 0 ;;
    *) printf '250 ok\r\n' ;;
    esac
done
END
chmod 755 /usr/local/bin/far.test
: >/var/log/far
tcpserver -H -R -l0 127.0.0.1 2525 far.test &
eventually answers 2525

# The list program: one script, called by what it is to do.
cd ~pippo
mkdir list
cat >list/list <<'END'
#!/bin/sh
# post: who may, to everybody; keep: the archive; command: subscribe and unsubscribe; dead: takes an address out.
cd "$HOME/list" || exit 111
take_out() { grep -vixF -- "$1" subscribers >new || :; mv new subscribers; }
case $1 in
post)
    [ ! -e closed ] || { echo "The list is closed for a moment."; exit 111; }
    case $SENDER in
    quiet@*) exit 99 ;;
    *) grep -qixF -- "$SENDER" subscribers || { echo "Only subscribers may write to $RECIPIENT."; exit 100; } ;;
    esac
    exec forward $(cat subscribers)
    ;;
keep) exec cat >>archive ;;
command)
    case $DEFAULT in
    subscribe) echo "$SENDER" >>subscribers ;;
    unsubscribe) take_out "$SENDER" ;;
    *) echo "No such command: $DEFAULT"; exit 100 ;;
    esac
    exit 99
    ;;
dead)
    if [ -n "$DEFAULT" ]; then
        take_out "${DEFAULT%=*}@${DEFAULT##*=}"
    else
        sed -n '/^--- Below/q; s/^<\(.*\)>:$/\1/p' >dead
        while read -r address; do take_out "$address"; done <dead
    fi
    ;;
esac
END
chmod 755 list/list
printf '%s\n' "topolino@$HOST" ann@far.test bob@far.test gone@far.test >list/subscribers
printf '|./list/list post\n|./list/list keep\n' >.qmail-list
printf '|./list/list command\n./never-reached\n' >.qmail-list-default
echo "|./list/list dead" >.qmail-list-owner-default
echo "./Maildir/" >.qmail-list-owner
chown -R pippo: list .qmail-list*
/var/qmail/rc &
eventually has /var/log/maillog "status: local 0/10 remote 0/20"

send() { printf 'To: %s\nSubject: %s\n\n%s\n' "$2" "$3" "${4:-text}" | /var/qmail/bin/qmail-inject -f "$1" "$2"; }
subscribers() { tr '\n' ' ' <list/subscribers; }
subscribers_are() { [ "$(subscribers)" = "$1 " ]; }

row list "a post goes to everybody, each with a sender of its own"
send ann@far.test "pippo-list@$HOST" first
eventually has /var/log/far "MAIL FROM:<pippo-list-owner-ann=far.test@$HOST>"
eventually has /var/log/far "MAIL FROM:<pippo-list-owner-bob=far.test@$HOST>"
eventually files_in 1 ~topolino/Maildir/new
has ~topolino/Maildir/new/* "Return-Path: <pippo-list-owner-topolino=$HOST@$HOST>"
has ~topolino/Maildir/new/* "Delivered-To: pippo-list@$HOST"
eventually has list/archive "Subject: first"

row list "a bounce of our own names the dead address: it is taken out"
eventually has /var/log/maillog "bounce msg"
eventually subscribers_are "topolino@$HOST ann@far.test bob@far.test"

row list "a bounce from outside tells it by VERP"
send "" "pippo-list-owner-bob=far.test@$HOST" "undeliverable"
eventually subscribers_are "topolino@$HOST ann@far.test"
files_in 0 ~pippo/Maildir/new || fail "the owner was bothered with it"

row list "a bounce without an address is the owner's"
send "" "pippo-list-owner@$HOST" "what now"
eventually files_in 1 ~pippo/Maildir/new

row list "exit 100: the text goes back to who wrote"
send "topolino-elsewhere@$HOST" "pippo-list@$HOST" stranger
eventually has /var/log/maillog "failure: Only_subscribers_may_write_to_pippo-list@$HOST./"
send carl@far.test "pippo-list@$HOST" "stranger two"
eventually has /var/log/far "RCPT TO:<carl@far.test>"
! has list/archive stranger || fail "exit 100 did not end the file"

row list "exit 99: done, and the lines below are not"
send "quiet@far.test" "pippo-list@$HOST" quiet
eventually [ "$(grep -c 'success: did_0+0+1/' /var/log/maillog)" -ge 1 ]
! has list/archive "Subject: quiet" || fail "exit 99 did not end the file"
send eva@far.test "pippo-list-subscribe@$HOST" please
eventually subscribers_are "topolino@$HOST ann@far.test eva@far.test"
send ann@far.test "pippo-list-unsubscribe@$HOST" enough
eventually subscribers_are "topolino@$HOST eva@far.test"
[ ! -e never-reached ] || fail "exit 99 did not end the file"
send eva@far.test "pippo-list-hello@$HOST" what
eventually has /var/log/maillog "failure: No_such_command:_hello/"

row list "exit 111: later, and then it is done once"
su pippo -c "touch ~/list/closed"
send eva@far.test "pippo-list@$HOST" later
eventually has /var/log/maillog "deferral: The_list_is_closed_for_a_moment./"
! has list/archive "Subject: later" || fail "exit 111 did not end the file"
su pippo -c "rm ~/list/closed"
killall -ALRM qmail-send
eventually has list/archive "Subject: later"
is "$(grep -c 'Subject: later' list/archive)" 1
eventually has /var/log/far "MAIL FROM:<pippo-list-owner-eva=far.test@$HOST>"
eventually files_in 2 ~topolino/Maildir/new
