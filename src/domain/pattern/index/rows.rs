//! Which pattern lies in which row, as of one moment: what somebody who follows an index keeps of it.

use std::sync::Arc;

use super::{Index, Segment};
use crate::domain::pattern::Pattern;

/// The patterns of a segment, row by row.
type Column = Arc<Vec<Arc<Pattern>>>;

/// The rows of an index at one moment, without their numbers. It shares what has not changed since.
#[derive(Clone, Debug, Default)]
pub struct Rows(Vec<Column>);

impl Rows {
    /// The patterns in rows where `index` has another one, or none.
    pub fn not_in<'a>(&'a self, index: &'a Index) -> impl Iterator<Item = &'a Arc<Pattern>> {
        let columns = self.0.iter().enumerate();
        columns
            .flat_map(|(number, column)| differing(column, column_of(index.segments.get(number))))
            .map(|(_, pattern)| pattern)
    }
}

impl Index {
    /// Its rows as of now.
    pub fn rows(&self) -> Rows {
        Rows(self.segments.iter().map(|segment| Arc::clone(&segment.patterns)).collect())
    }

    /// The rows that have another pattern than they had then, or had none. Looks at those segments
    /// alone that were changed since.
    pub fn new_since<'a>(
        &'a self,
        then: &'a Rows,
    ) -> impl Iterator<Item = (usize, &'a Arc<Pattern>)> {
        self.segments.iter().enumerate().flat_map(move |(number, segment)| {
            let start = number * super::SEGMENT_ROWS;
            differing(&segment.patterns, then.0.get(number))
                .map(move |(at, pattern)| (start + at, pattern))
        })
    }
}

fn column_of(segment: Option<&Segment>) -> Option<&Column> {
    segment.map(|segment| &segment.patterns)
}

/// The patterns that the other column has not in the same place. A pattern that was changed is the same.
fn differing<'a>(
    column: &'a Column,
    other: Option<&'a Column>,
) -> impl Iterator<Item = (usize, &'a Arc<Pattern>)> {
    let is_shared = other.is_some_and(|other| Arc::ptr_eq(column, other));
    let rows = if is_shared { &[][..] } else { column.as_slice() };
    rows.iter().enumerate().filter(move |(at, pattern)| {
        let other = other.and_then(|other| other.get(*at));
        !other.is_some_and(|other| Arc::ptr_eq(other, pattern) || other.number == pattern.number)
    })
}
