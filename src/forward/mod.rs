//! Forwarding decisions: pure state machines, time passed in, no I/O (level 1).
