//! Payload formats (a payload type with its codec and parameters) and how a publisher's format finds its counterpart
//! among a subscriber's.
