//! A login: the wait that wrong passwords earned, the directory's word, the maildrop. Called by the shell; it tells nobody which of name
//! and password was wrong.

use super::Shell;
use super::record::End;
use crate::session::{Login, Refusal};
use postino_net::Admission;
use postino_ports::directory::{Credentials, Login as Verdict, Mailbox, Service};
use postino_ports::maildrop::MaildropError;
use postino_sasl::Question;
use postino_types::printable::{cut, printable};

/// Bytes of a login name that go into the log.
const LOGGED_BYTES_MAX: usize = 200;

impl Shell {
    /// Tries `attempt` and tells the session.
    pub(super) async fn login(&mut self, attempt: Login) -> Result<(), End> {
        let shown = cut(&printable(&attempt.name), LOGGED_BYTES_MAX).to_owned();
        let verdict = self.verdict(attempt).await?;
        self.record.login(&shown, verdict.is_ok());
        let refusal = match verdict {
            Ok(mailbox) => match self.context.maildrops.open(&mailbox).await {
                Ok(maildrop) => {
                    self.session.granted(maildrop.messages(), &mut self.out);
                    self.maildrop = Some(maildrop);
                    self.wire.write_limit = self.idle;
                    self.record.login = shown;
                    return Ok(());
                }
                Err(error) => {
                    self.record.warn("cannot open mailbox", &error.to_string());
                    match error {
                        MaildropError::Missing(_) => Refusal::NoMailbox,
                        MaildropError::Io(_) => Refusal::Temporary,
                    }
                }
            },
            Err(refusal) => refusal,
        };
        self.session.refused(refusal, &mut self.out);
        Ok(())
    }

    /// What a mechanism asks before its attempt.
    pub(super) async fn find_out(&mut self, question: Question) {
        let config = self.context.config.get();
        let binding = |binding| self.wire.channel_binding(binding);
        let stamp = (config.me.as_str(), self.context.clock.now());
        let found = postino_net::answers::answer(self.context.directory.as_ref(), question, stamp, binding).await;
        if let Err(error) = &found {
            self.record.warn("cannot check a login", &error.to_string());
        }
        self.session.told(found.ok(), &mut self.out);
    }

    /// The directory's word, after the wait that is due.
    async fn verdict(&mut self, attempt: Login) -> Result<Result<Mailbox, Refusal>, End> {
        let Login { name, secret } = attempt;
        let (throttle, clock) = (self.context.throttle.clone(), self.context.clock.clone());
        match throttle.admit(self.peer, &name, clock.monotonic()) {
            Admission::Now => {}
            Admission::After(wait) => tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.permit.evicted() => return Err(End::Limit),
                _ = self.shutdown.wait_for(|&stop| stop) => return Err(End::Shutdown),
            },
            Admission::Refuse => return Ok(Err(Refusal::Throttled)),
        }
        let credentials = Credentials { login: name.clone(), secret, service: Service::Pop3, peer: self.peer };
        let answer = self.context.directory.authenticate(credentials).await;
        let now = clock.monotonic();
        Ok(match answer {
            Ok(Verdict::Granted(mailbox)) => {
                if let Some(roaming) = &self.context.roaming {
                    roaming.logged_in(self.peer, &mailbox);
                }
                throttle.succeeded(self.peer, &name, now);
                Ok(mailbox)
            }
            Ok(Verdict::Denied) => {
                throttle.failed(self.peer, &name, now);
                Err(Refusal::Denied)
            }
            Err(error) => {
                throttle.undecided(self.peer, &name, now);
                self.record.warn("cannot check a login", &error.to_string());
                Err(Refusal::Temporary)
            }
        })
    }
}
