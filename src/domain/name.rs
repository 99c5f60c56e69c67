//! Names that callers and configuration choose.

/// Whether a name has 1 to `chars_max` ASCII letters and digits, and of these marks.
pub fn is_plain(name: &str, marks: &[u8], chars_max: usize) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || marks.contains(&byte);
    (1..=chars_max).contains(&name.len()) && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn a_plain_name_has_its_length_and_its_characters() {
        for (name, expected) in [
            ("", false),
            ("aZ9", true),
            ("a-b", true),
            ("a.b", false),
            ("\u{e9}", false),
            ("abcd", false),
        ] {
            assert_eq!(is_plain(name, b"-", 3), expected, "{name}");
        }
    }
}
