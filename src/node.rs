//! One process: shards, control plane, orderly start and stop.
