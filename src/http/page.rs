//! How much of a list one answer holds.

use crate::http::error::ApiError;

/// Items of a page for which no limit is given: what a person looks through.
pub(super) const PAGE_DEFAULT: usize = 50;

/// What to give as `after` for the next page; nothing at the end.
pub(super) fn next_after<T>(
    page: &[T],
    limit: usize,
    id: impl FnOnce(&T) -> String,
) -> Option<String> {
    page.last().filter(|_| page.len() == limit).map(id)
}

/// The number of items to answer with.
///
/// # Errors
/// 400 `OUT_OF_RANGE` for none, or for more than `max`.
pub(super) fn page_limit(given: Option<usize>, max: usize) -> Result<usize, ApiError> {
    let limit = given.unwrap_or(PAGE_DEFAULT);
    if (1..=max).contains(&limit) {
        return Ok(limit);
    }
    Err(ApiError::invalid("OUT_OF_RANGE", format!("limit is 1 to {max}")).details("limit"))
}
