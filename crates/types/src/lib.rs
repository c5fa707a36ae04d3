//! The vocabulary of the house: addresses, envelopes, states, outcomes, codes. Every crate uses it; it does no I/O and knows no clock.
#![forbid(unsafe_code)]

pub mod account;
pub mod address;
pub mod envelope;
pub mod exit;
pub mod id;
pub mod outcome;
pub mod printable;
pub mod report_text;
pub mod secret;
pub mod spawn_frame;
pub mod status;
pub mod time;

pub use address::{Address, AddressError, ReversePath};
pub use envelope::{BodyKind, Channel, DsnWish, Envelope, Notify, Orcpt, Origin, PeerInfo, Recipient, RecipientState, Ret, Routed};
pub use id::{QueueId, SessionId};
pub use outcome::DeliveryOutcome;
pub use report_text::ReportText;
pub use secret::{ScramHash, Secret};
pub use status::{EnhancedStatus, PermStatus, TempStatus};
pub use time::Time;
