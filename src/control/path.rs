//! Names in paths: axum's extractor with a refusal like every other.

use axum::extract::FromRequestParts;
use axum::extract::rejection::PathRejection;

use super::problem::Problem;

/// The names in a request's path. Called as axum calls its own, by which the OpenAPI description finds them.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
pub(super) struct Path<T>(pub(super) T);

impl From<PathRejection> for Problem {
    fn from(_: PathRejection) -> Self {
        Self::bad_request("the path is not percent-encoded UTF-8; check the names in it")
    }
}
