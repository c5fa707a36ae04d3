//! The scheduler as a whole, in simulated time: days of mail in milliseconds.

mod house;
mod links;
mod notices;
mod passes;
mod trouble;
