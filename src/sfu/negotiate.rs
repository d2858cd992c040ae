//! Session descriptions in and out: the only place that reads or writes SDP.

/// Why a description was refused. The text tells the client's author what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// Not SDP, or an attribute that is needed is missing or unreadable: 400.
    #[error("{0}")]
    Malformed(String),
    /// Valid SDP that asks for something the server does not do: 422.
    #[error("{0}")]
    Unacceptable(String),
}
