# 3.1: aliases and dot-qmail files, in the chapter's words.
. "$LIB/lib.sh"
qmail_machine pluto.test
for u in ciccio pippo davide; do user $u segreto; done
csh -cf '/var/qmail/rc &'
eventually has /var/log/maillog "status: local"
send() { printf 'Subject: %s\n\n' "$2" | /var/qmail/bin/qmail-inject -f mittente@altrove.test "$1"; }
found() { grep -lrs "^Subject: $2\$" "$1" >/dev/null; }
file() { grep -lrs "^Subject: $2\$" "$1"; }

row 3.1 "alias file: ciccio_di_nonna_papera"
echo "ciccio" > ~alias/.qmail-ciccio_di_nonna_papera
send ciccio_di_nonna_papera@pluto.test papera
eventually found /home/ciccio/Maildir/new papera
has "$(file /home/ciccio/Maildir/new papera)" "Delivered-To: ciccio_di_nonna_papera@pluto.test"

row 3.1 "alias file: several names are a group"
printf 'ciccio\npippo\n' > ~alias/.qmail-tutti
send tutti@pluto.test gruppo
eventually found /home/ciccio/Maildir/new gruppo
eventually found /home/pippo/Maildir/new gruppo

row 3.1 "alias file: a dot is written as a colon"
echo "ciccio" > ~alias/.qmail-nonna:papera
send Nonna.Papera@pluto.test punto
eventually found /home/ciccio/Maildir/new punto

row 3.1 "lookup order: users/assign, the system's users, then alias"
echo "&davide@pluto.test" > ~alias/.qmail-pippo
send pippo@pluto.test utente
eventually found /home/pippo/Maildir/new utente
printf '=pippo:davide:%s:%s:/home/davide:::\n.\n' "$(id -u davide)" "$(id -g davide)" >/var/qmail/users/assign
/var/qmail/bin/qmail-newu
send pippo@pluto.test assegnato
eventually found /home/davide/Maildir/new assegnato
rm /var/qmail/users/assign /var/qmail/users/cdb
! found /home/davide/Maildir/new utente || fail "the alias hid the user"

row 3.1 "nobody of that name: bounced to the sender"
printf 'Subject: nessuno\n\n' | /var/qmail/bin/qmail-inject -f davide@pluto.test nessuno@pluto.test
eventually found /home/davide/Maildir/new "failure notice"
has "$(file /home/davide/Maildir/new 'failure notice')" "Sorry, no mailbox here by that name. (#5.1.1)"

row 3.1 "|command: sh, the message on its input, the environment, as the user"
su davide -c 'cat >~/.qmail-prog' <<'END'
| (echo "$USER $HOME $EXT $RECIPIENT $SENDER $(id -un) $(pwd)"; cat) > ~/seen
END
send davide-prog@pluto.test comando
eventually has /home/davide/seen "Subject: comando"
is "$(head -n 1 /home/davide/seen)" "davide /home/davide prog davide-prog@pluto.test mittente@altrove.test davide /home/davide"

row 3.1 "|command: exit codes 99, 100, 111"
su davide -c 'printf "|exit 99\n./never\n" >~/.qmail-c99; printf "|echo not wanted here; exit 100\n" >~/.qmail-c100; printf "|exit 111\n" >~/.qmail-c111'
send davide-c99@pluto.test codice
eventually has /var/log/maillog "success: did_0+0+1/"
[ ! -e /home/davide/never ] || fail "99 did not end the file"
printf 'Subject: respinto\n\n' | /var/qmail/bin/qmail-inject -f pippo@pluto.test davide-c100@pluto.test
eventually has /var/log/maillog "failure: not_wanted_here/"
eventually found /home/pippo/Maildir/new "failure notice"
send davide-c111@pluto.test rinviato
eventually has /var/log/maillog " deferral: "

row 3.1 "&address: forwarded, with and without the sign"
printf '&ciccio@pluto.test\npippo@pluto.test\n' > ~alias/.qmail-inoltro
send inoltro@pluto.test inoltrato
eventually found /home/ciccio/Maildir/new inoltrato
eventually found /home/pippo/Maildir/new inoltrato

row 3.1 "/dir/ and ./dir/: Maildir; /file: mbox"
su davide -c '/var/qmail/bin/maildirmake ~/Altra; printf "/home/davide/Altra/\n./Maildir/\n/home/davide/mailbox\n" >~/.qmail-dove'
send davide-dove@pluto.test ovunque
eventually found /home/davide/Altra/new ovunque
eventually found /home/davide/Maildir/new ovunque
eventually has /home/davide/mailbox "Subject: ovunque"
contains "$(head -n 3 /home/davide/mailbox)" "Return-Path: <mittente@altrove.test>
Delivered-To: davide-dove@pluto.test"
is "$(head -n 1 /home/davide/mailbox | cut -d' ' -f1,2)" "From mittente@altrove.test"
is "$(stat -c %U:%a /home/davide/mailbox)" davide:600

row 3.1 "a mailing list program: sender of its own, VERP, exits"
mkdir /home/davide/lista
printf 'ciccio@pluto.test\npippo@pluto.test\n' >/home/davide/lista/members
cat >/home/davide/lista/post <<'END'
#!/bin/sh
# Closed for posts that say so; busy while it is locked; otherwise to all members.
grep -q '^Subject: chiusa$' && { echo "The list is closed."; exit 100; }
[ ! -e lista/busy ] || exit 111
exec </dev/null
exit 0
END
chmod 755 /home/davide/lista/post
chown -R davide: /home/davide/lista
su davide -c 'printf "|lista/post\n|forward \`cat lista/members\`\n" >~/.qmail-lista; echo ./Maildir/ >~/.qmail-lista-owner; echo "|grep ^\< >>~/bounced; exit 99" >~/.qmail-lista-owner-default'
send davide-lista@pluto.test annuncio
eventually found /home/ciccio/Maildir/new annuncio
eventually found /home/pippo/Maildir/new annuncio
has "$(file /home/ciccio/Maildir/new annuncio)" "Return-Path: <davide-lista-owner-ciccio=pluto.test@pluto.test>"
# A member is gone: the bounce comes back to the list's owner, and names the member.
echo "nessuno@pluto.test" >>/home/davide/lista/members
send davide-lista@pluto.test secondo
eventually has /home/davide/bounced "<nessuno@pluto.test>:"
printf 'Subject: chiusa\n\n' | /var/qmail/bin/qmail-inject -f pippo@pluto.test davide-lista@pluto.test
eventually has /var/log/maillog "The_list_is_closed./"
touch /home/davide/lista/busy
printf 'Subject: terzo\n\n' | /var/qmail/bin/qmail-inject davide-lista@pluto.test
deferred_twice() { [ "$(grep -c ' deferral: ' /var/log/maillog)" -ge 2 ]; }
eventually deferred_twice
rm /home/davide/lista/busy
kill -ALRM "$(pgrep -xo qmail-send)"
eventually found /home/ciccio/Maildir/new terzo
