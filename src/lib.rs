//! Crosspoint.
