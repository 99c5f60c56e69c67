//! Finds the end of plain text, eight bytes at a time.

const ONES: u64 = u64::MAX / 0xff;
const TOPS: u64 = ONES << 7;

/// Bytes at the start that stand for themselves in a JSON string: no quote, no backslash, no
/// control character.
#[inline]
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk() {
        let special = special(u64::from_le_bytes(*word));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    at + bytes[at..].iter().position(is_special).unwrap_or(bytes.len() - at)
}

/// Has the top bit of the first special byte set, counted from the low end. Beyond that byte a
/// borrow may set others, so only the lowest means something.
#[inline]
fn special(word: u64) -> u64 {
    // The top bit of a byte that is below the subtrahend, for bytes below 0x80.
    let below = |word: u64, least: u64| word.wrapping_sub(ONES * least) & !word & TOPS;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    below(word, 0x20) | is(b'"') | is(b'\\')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_is_judged_alike_in_every_place() {
        for byte in 0..=u8::MAX {
            let is_special = byte < 0x20 || byte == b'"' || byte == b'\\';
            for place in 0..20 {
                let mut bytes = [b'a'; 20];
                bytes[place] = byte;
                assert_eq!(plain_len(&bytes), if is_special { place } else { 20 }, "{byte:#x}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_first_special_byte_is_found(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let found = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
            prop_assert_eq!(plain_len(&bytes), found.unwrap_or(bytes.len()));
        }
    }
}
