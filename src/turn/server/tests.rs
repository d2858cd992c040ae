//! Every request and error of RFC 8656, as a client sees them.

mod allocating;
mod authenticating;
mod client;
mod relaying;
