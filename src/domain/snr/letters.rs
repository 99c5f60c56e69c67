//! What a character is to the scorer: a letter folded to a-z, a digit, a sign, or noise.

/// The bases of U+00C0 to U+017F in order; `*` is no letter.
const LATIN: &[u8; 192] = b"\
aaaaaaaceeeeiiiidnooooo*ouuuuytsaaaaaaaceeeeiiiidnooooo*ouuuuyty\
aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiiiiijjkkklllllll\
lllnnnnnnnnnoooooooorrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";

/// A character as the scorer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// A Latin letter: its base, `a` to `z`, and whether it is upper case.
    Letter(u8, bool),
    /// A Latin letter that carries a mark or has no base: the base or `e`, and its case.
    Marked(u8, bool),
    /// A digit, as ASCII.
    Digit(u8),
    /// Anything else of ASCII that is printed.
    Ascii(u8),
    /// A letter of a script whose letters look like Latin ones: Greek, Cyrillic and so on.
    Alike,
    /// A letter that is a Latin one in disguise: full width, mathematical and the like.
    Disguised(u8, bool),
    /// A letter of a script that is written without spaces: each counts as a word.
    Ideograph,
    /// A letter of any other script.
    Other,
    /// A mark that combines with the letter before it.
    Mark,
    /// White space.
    Space,
    /// The end of a line.
    Line,
    /// Not seen on paper, and changes no word: zero width, direction, control, tag.
    Invisible,
    /// Not seen either, but used to put emoji together.
    Joiner,
    /// Any other sign.
    Rest,
}

/// What `c` is.
pub(super) fn sign(c: char) -> Sign {
    let code = u32::from(c);
    if code < 0x80 {
        return ascii(code as u8);
    }
    match code {
        0x85 | 0x2028 | 0x2029 => Sign::Line,
        0xAD
        | 0x34F
        | 0x61C
        | 0x115F
        | 0x1160
        | 0x17B4
        | 0x17B5
        | 0x180B..=0x180E
        | 0x3164
        | 0xFFA0
        | 0xFEFF
        | 0x200B
        | 0x200C
        | 0x200E
        | 0x200F
        | 0x202A..=0x202E
        | 0x2060..=0x206F
        | 0xFFF0..=0xFFFB
        | 0xE0000..=0xE0FFF
        | 0x80..=0x9F => Sign::Invisible,
        0x200D | 0xFE00..=0xFE0F => Sign::Joiner,
        0xC0..=0x17F => match LATIN[(code - 0xC0) as usize] {
            b'*' => Sign::Rest,
            base => Sign::Marked(base, c.is_uppercase()),
        },
        0x2018 | 0x2019 => Sign::Ascii(b'\''),
        0x201C | 0x201D => Sign::Ascii(b'"'),
        0x2010 | 0x2011 => Sign::Ascii(b'-'),
        0x2026 => Sign::Ascii(b'.'),
        0xFF21..=0xFF3A => Sign::Disguised((code - 0xFF21) as u8 + b'a', true),
        0xFF41..=0xFF5A => Sign::Disguised((code - 0xFF41) as u8 + b'a', false),
        0x1D400..=0x1D7FF | 0x24B6..=0x24E9 | 0x1F130..=0x1F189 => Sign::Disguised(b'e', false),
        0x300..=0x36F
        | 0x483..=0x489
        | 0x1AB0..=0x1AFF
        | 0x1DC0..=0x1DFF
        | 0x20D0..=0x20FF
        | 0xFE20..=0xFE2F
        | 0x5B0..=0x5BD
        | 0x64B..=0x65F => Sign::Mark,
        0x180..=0x24F | 0x1E00..=0x1EFF => Sign::Marked(b'e', c.is_uppercase()),
        0x370..=0x58F
        | 0x10A0..=0x10FF
        | 0x13A0..=0x13FF
        | 0x1F00..=0x1FFF
        | 0x2C80..=0x2CFF
        | 0xA4D0..=0xA4FF
        | 0xAB70..=0xABBF
            if c.is_alphabetic() =>
        {
            Sign::Alike
        }
        0xE00..=0xEFF
        | 0x1000..=0x109F
        | 0x1780..=0x17FF
        | 0x3040..=0x30FF
        | 0x3400..=0x9FFF
        | 0xF900..=0xFAFF
        | 0x20000..=0x3FFFF
            if c.is_alphabetic() =>
        {
            Sign::Ideograph
        }
        _ if c.is_whitespace() => Sign::Space,
        _ if c.is_alphabetic() => Sign::Other,
        _ => Sign::Rest,
    }
}

const fn ascii(byte: u8) -> Sign {
    match byte {
        b'a'..=b'z' => Sign::Letter(byte, false),
        b'A'..=b'Z' => Sign::Letter(byte | 0x20, true),
        b'0'..=b'9' => Sign::Digit(byte),
        b'\n' => Sign::Line,
        b' ' | b'\t' | b'\r' | 0x0B | 0x0C => Sign::Space,
        0..=0x1F | 0x7F => Sign::Invisible,
        _ => Sign::Ascii(byte),
    }
}
