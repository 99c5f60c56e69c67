//! Cards, accounts, identity numbers, addresses.

use super::*;

/// The digits with Luhn's check digit behind them, worked out by doubling from the left.
fn with_luhn(digits: &str) -> String {
    let doubled = |(index, digit): (usize, char)| {
        let digit = digit.to_digit(10).unwrap();
        let is_doubled = (digits.len() - index) % 2 == 1;
        if is_doubled { digit * 2 / 10 + digit * 2 % 10 } else { digit }
    };
    let sum: u32 = digits.chars().enumerate().map(doubled).sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

/// An IBAN with its check digits, worked out with one long remainder.
fn iban(country: &str, account: &str) -> String {
    let remainder = |text: &str| {
        text.chars().fold(0u64, |rest, c| {
            let value = u64::from(c.to_digit(36).unwrap());
            (rest * if value > 9 { 100 } else { 10 } + value) % 97
        })
    };
    format!("{country}{:02}{account}", 98 - remainder(&format!("{account}{country}00")))
}

fn grouped(digits: &str, groups: &[usize], separator: &str) -> String {
    let mut rest = digits;
    let mut parts = Vec::new();
    for len in groups {
        let (part, after) = rest.split_at(*len);
        parts.push(part);
        rest = after;
    }
    parts.join(separator)
}

#[test]
fn cards_of_every_network_are_found_with_and_without_groups() {
    for (digits, groups) in [
        ("453201511283036", &[4usize, 4, 4, 4][..]),
        ("542418027979173", &[4, 4, 4, 4]),
        ("234567890123412", &[4, 4, 4, 4]),
        ("37828224631041", &[4, 6, 5]),
        ("601100099013972", &[4, 4, 4, 4]),
        ("352823910472831", &[4, 4, 4, 4]),
        ("621234567890127", &[4, 4, 4, 4]),
        ("3656789012345", &[4, 6, 4]),
    ] {
        let card = with_luhn(digits);
        for separator in [" ", "-", ".", "\u{a0}", "\u{2011}", "\u{200b} "] {
            let text = format!("It is {}, until 12/27.", grouped(&card, groups, separator));
            assert_found(&text, Kind::Card);
        }
        assert_found(&format!("card={card}"), Kind::Card);
        assert_found(&format!("{{\"pan\":\"{card}\"}}"), Kind::Card);
        // Any other last digit is wrong.
        let (body, check) = card.split_at(card.len() - 1);
        for digit in ('0'..='9').filter(|digit| !check.starts_with(*digit)) {
            let other = format!("{body}{digit}");
            assert_clean(&format!("It is {}.", grouped(&other, groups, " ")));
        }
    }
}

#[test]
fn full_width_digits_and_invisible_characters_do_not_hide_a_card() {
    let wide: String = "4532015112830366"
        .chars()
        .map(|c| char::from_u32(u32::from(c) - u32::from('0') + 0xff10).unwrap())
        .collect();
    assert_found(&format!("\u{5361}\u{53f7} {wide}"), Kind::Card);
    assert_found("4532\u{200d}0151\u{2060}1283\u{ad}0366", Kind::Card);
}

#[test]
fn numbers_that_are_no_cards_are_left_alone() {
    for text in [
        "14532015112830366",
        "45320151128303660",
        "4532015112830366.5",
        "0.4532015112830366",
        "0x4532015112830366",
        "x = -4532015112830366",
        "a4532015112830366",
        "4532015112830366-1",
        "/4532015112830366/",
        "9999 9999 9999 9995",
        "4444444444444448",
        "4532 01511 2830366",
        "45 32 01 51 12 83 03 66",
        "1736937000123456, 4532015112830366, 9007199254740991",
    ] {
        assert_passes(text);
    }
}

#[test]
fn published_test_cards_are_noted_and_no_veto() {
    for text in
        ["4111 1111 1111 1111", "4242424242424242", "5555-5555-5555-4444", "378282246310005"]
    {
        let harm = harm(text);
        assert_eq!((harm.value().value(), harm.total()), (0.1, 1), "{text}");
        assert_eq!(harm.findings()[0].kind, Kind::Card);
    }
}

#[test]
fn accounts_are_found_by_country_length_and_remainder() {
    for (country, account) in [
        ("DE", "500105175407324931"),
        ("GB", "BARC20038412345678"),
        ("FR", "30006000011234567890189"),
        ("NO", "96012345678"),
        ("SA", "80000000608010167520"),
        ("MT", "MALT011000098765MTLCAST002S"),
    ] {
        let plain = iban(country, account);
        assert_found(&format!("Pay to {plain}."), Kind::Iban);
        let mut spaced = String::new();
        for (index, c) in plain.chars().enumerate() {
            if index > 0 && index % 4 == 0 {
                spaced.push(' ');
            }
            spaced.push(c);
        }
        assert_found(&format!("IBAN: {spaced}\n"), Kind::Iban);
        let digit = |c: char| if c == '9' { '0' } else { char::from(c as u8 + 1) };
        let wrong: String =
            plain.char_indices().map(|(i, c)| if i == 3 { digit(c) } else { c }).collect();
        assert_passes(&wrong);
        assert_passes(&plain[..plain.len() - 1]);
        assert_passes(&format!("{plain}7"));
        assert_passes(&format!("X{plain}"));
    }
    for published in ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"] {
        assert_eq!(value(published), 0.1, "{published}");
    }
}

#[test]
fn social_security_numbers_are_those_that_can_be_issued() {
    for text in ["His is 536-22-8741.", "SSN 536 22 8741", "ssn: 536228741"] {
        assert_found(text, Kind::NationalId);
    }
    for text in [
        "000-22-8741",
        "666-22-8741",
        "936-22-8741",
        "536-00-8741",
        "536-22-0000",
        "536-22-87411",
        "1536-22-8741",
        "536-22-8741-1",
        "536 22 8741",
        "536228741",
        "123-45-6789",
        "078-05-1120",
    ] {
        assert_passes(text);
    }
}

#[test]
fn one_contact_is_mild_and_a_list_of_people_is_not() {
    assert_eq!(value("Write to jane.doe@mail.de"), 0.04);
    assert_eq!(value("Call +49 30 901820 or (212) 736-5000"), 0.08);
    let people = |count: usize| -> String {
        (0..count).map(|index| format!("Person {index} <p{index}@mail.de>\n")).collect()
    };
    for count in 1..=7 {
        assert_passes(&people(count));
    }
    for count in [8, 15, 100] {
        assert!(value(&people(count)) > VETO, "{count}");
    }
    assert_eq!(value(&people(100)), 0.6);
}

#[test]
fn the_same_contact_counts_once() {
    let text = "jane@mail.de, Jane@Mail.DE, +1 212 736 5000, 212-736-5000, (212) 736-5000";
    assert_eq!(harm(text).total(), 2);
    assert_eq!(value(&"jane@mail.de ".repeat(1000)), 0.04);
}

#[test]
fn addresses_that_are_nobodys_are_clean() {
    for text in [
        "user@example.com",
        "a@b.example",
        "me@localhost",
        "jane@mail.test",
        "git@github.com:org/repo.git",
        "ssh://jane@host.org/repo",
        "security@vendor.org",
        "123+jane@users.noreply.github.com",
        "icon@2x.png",
        "@scope/package@1.2.3",
        "lodash@4.17.21",
        "user@service",
        "@decorator",
        "a @ b.c",
        "jane@mail..de",
        "x@y.z",
        "@@@@@@",
    ] {
        assert_clean(text);
    }
}

#[test]
fn numbers_that_are_no_phones_are_clean() {
    for text in [
        "+1234567890",
        "+1 (555) 555-0123",
        "212-555-0134",
        "+1000000000",
        "1.0.0+20130313144700",
        "2024-01-15 10:30:00 +0200",
        "112-736-5000",
        "212-136-5000",
        "212-736-50001",
        "1-212-736",
        "+49",
        "192.168.100.2000",
    ] {
        assert_clean(text);
    }
}
