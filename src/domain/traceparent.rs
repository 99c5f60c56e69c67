//! The header that names the trace a request belongs to (W3C Trace Context, level 1).

use crate::domain::bytes::from_hex;

/// The span that a request was made in, elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; not all zero.
    pub trace_id: [u8; 16],
    /// The span; not all zero.
    pub span_id: [u8; 8],
    /// Whether whoever made the request keeps the trace.
    pub is_sampled: bool,
}

/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const LENGTH: usize = 55;

impl TraceParent {
    /// Reads the header's value; `None` unless it is exactly as the standard has it.
    pub fn parse(text: &str) -> Option<Self> {
        // Text of a later version may go on, after another hyphen.
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let mut parts = known.split('-');
        let version: [u8; 1] = digits(parts.next()?)?;
        let (trace_id, span_id) = (digits(parts.next()?)?, digits(parts.next()?)?);
        let flags: [u8; 1] = digits(parts.next()?)?;
        let has_form = match version {
            [0] => rest.is_empty(),
            [255] => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let is_named = trace_id != [0; 16] && span_id != [0; 8];
        let is_whole = has_form && is_named && parts.next().is_none();
        is_whole.then_some(Self { trace_id, span_id, is_sampled: flags[0] & 1 == 1 })
    }
}

/// Lower case only, as many as the array has bytes.
fn digits<const N: usize>(text: &str) -> Option<[u8; N]> {
    from_hex(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_parent_is_read_with_its_decision() {
        let parent = TraceParent::parse(VALID).unwrap();
        assert_eq!((parent.trace_id[0], parent.span_id[7]), (0x4b, 0xb7));
        assert!(parent.is_sampled);
        for (flags, is_sampled) in [("00", false), ("02", false), ("03", true), ("ff", true)] {
            let text = format!("{}{flags}", &VALID[..53]);
            assert_eq!(TraceParent::parse(&text).unwrap().is_sampled, is_sampled, "{text}");
        }
        let later = format!("cc{}-what-comes-later", &VALID[2..]);
        assert_eq!(TraceParent::parse(&later), Some(parent));
    }

    #[test]
    fn what_is_not_as_the_standard_has_it_is_no_parent() {
        let (head, tail) = (&VALID[..3], &VALID[35..]);
        for text in [
            "",
            "00",
            &VALID[..54],
            &format!("{VALID}-"),
            &format!("{VALID}0"),
            &format!(" {VALID}"),
            &format!("ff{}", &VALID[2..]),
            &format!("cc{}x", &VALID[2..]),
            &format!("+1{}", &VALID[2..]),
            &VALID.to_uppercase(),
            &VALID.replace('-', "_"),
            &format!("{head}{}{tail}", "0".repeat(32)),
            &VALID.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &VALID.replace("4bf9", "4bg9"),
            &VALID.replace("4bf92f", "\u{6f22}\u{6f22}"),
            &VALID.replace("b7-01", "b7--1"),
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
    }
}
