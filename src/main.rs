//! The `crosspoint` program.

fn main() {}
