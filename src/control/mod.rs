//! The control plane: HTTP for people, programs and operators.
