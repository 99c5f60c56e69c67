//! Numbers of people: cards, bank accounts, social security, phones.

use crate::domain::harm::glance::PIECE_BYTES;
use crate::domain::harm::secrets::{begins_word, is_word};
use crate::domain::harm::{Kind, Tally};

/// Written in groups as on the card, with a right prefix, length and check digit.
const CARD_GROUPED: u8 = 80;

/// The same without groups: one in ten numbers of the length and prefix has the check digit.
const CARD_BARE: u8 = 60;

/// Lengths that few cards and many other numbers have: not a veto.
const CARD_ODD: u8 = 20;

/// A bank account can be charged, and is printed on every invoice.
const IBAN: u8 = 40;

/// Identifies a person for life where it is used; the form has no check digit.
const SSN: u8 = 60;

/// A number that its issuer published as an example is nobody's: noted, not a veto.
const PUBLISHED: u8 = 10;

/// Groups of the longest number that is read.
const GROUPS_MAX: usize = 5;

/// Digits of the longest number that is read.
const DIGITS_MAX: usize = 19;

/// Looks at every place where a number begins. `None` if `is_over` said so.
pub(super) fn find(
    text: &[u8],
    tally: &mut Tally,
    is_over: &mut dyn FnMut() -> bool,
) -> Option<()> {
    let mut done_to = 0;
    let mut is_inside = false;
    for (at, byte) in text.iter().enumerate() {
        if byte.is_ascii_digit() {
            if !is_inside && at >= done_to {
                done_to = number(text, at, tally).unwrap_or(done_to);
            }
            is_inside = true;
        } else {
            is_inside = false;
        }
        if at % PIECE_BYTES == PIECE_BYTES - 1 && is_over() {
            return None;
        }
    }
    Some(())
}

fn number(text: &[u8], at: usize, tally: &mut Tally) -> Option<usize> {
    if let Some(start) = at.checked_sub(2).filter(|_| text[at - 1].is_ascii_uppercase()) {
        return iban(text, start, tally);
    }
    if at > 0 && text[at - 1] == b'+' {
        return international(text, at, tally);
    }
    let is_open = begins_word(text, at)
        && match at.checked_sub(1).map(|before| text[before]) {
            Some(b'.' | b'/' | b'$') => false,
            // A dash joins numbers and makes them negative, unless it joins to a word.
            Some(b'-') => at >= 2 && text[at - 2].is_ascii_alphabetic(),
            _ => true,
        };
    if !is_open {
        return None;
    }
    let number = Number::read(text, at);
    number
        .card(text, tally)
        .or_else(|| number.ssn(text, tally))
        .or_else(|| number.phone(text, tally))
}

/// Groups of digits with one separator throughout.
#[derive(Debug)]
struct Number {
    at: usize,
    end: usize,
    digits: [u8; DIGITS_MAX],
    len: usize,
    groups: [usize; GROUPS_MAX],
    groups_len: usize,
    separator: Option<u8>,
    /// Whether nothing goes on behind it.
    is_whole: bool,
}

impl Number {
    fn read(text: &[u8], at: usize) -> Self {
        let mut number = Self {
            at,
            end: at,
            digits: [0; DIGITS_MAX],
            len: 0,
            groups: [0; GROUPS_MAX],
            groups_len: 0,
            separator: None,
            is_whole: true,
        };
        loop {
            let rest = &text[number.end..];
            let len = rest.iter().take(DIGITS_MAX + 1).take_while(|b| b.is_ascii_digit()).count();
            if len == 0 || number.len + len > DIGITS_MAX || number.groups_len == GROUPS_MAX {
                // A number that is too long as a whole may be one in its first groups.
                number.is_whole = number.groups_len > 0 && number.separator == Some(b' ');
                break;
            }
            for (place, byte) in number.digits[number.len..].iter_mut().zip(&rest[..len]) {
                *place = byte - b'0';
            }
            number.len += len;
            number.groups[number.groups_len] = len;
            number.groups_len += 1;
            number.end += len;
            let after = &text[number.end..];
            match after {
                [sign @ (b' ' | b'-' | b'.'), digit, ..]
                    if digit.is_ascii_digit()
                        && number.separator.is_none_or(|separator| separator == *sign)
                        && number.groups_len < GROUPS_MAX =>
                {
                    number.separator = Some(*sign);
                    number.end += 1;
                }
                _ => {
                    number.is_whole = !goes_on(after);
                    break;
                }
            }
            if number.groups() == [4, 4, 4, 4] && number.digits().is_card() {
                // What stands behind a card, its date or code, is not part of it.
                number.end -= 1;
                break;
            }
        }
        number
    }

    fn groups(&self) -> &[usize] {
        &self.groups[..self.groups_len]
    }

    fn digits(&self) -> Digits<'_> {
        Digits(&self.digits[..self.len])
    }

    fn card(&self, text: &[u8], tally: &mut Tally) -> Option<usize> {
        let digits = self.digits();
        if !self.is_whole || !digits.is_card() {
            return None;
        }
        let percent = match self.groups() {
            _ if digits.is_published() => PUBLISHED,
            [14..=16] if !is_listed(text, self.at, self.end) => CARD_BARE,
            [_] => CARD_ODD,
            [4, 4, 4, 4] | [4, 6, 5] | [4, 6, 4] | [4, 4, 4, 4, 3] => CARD_GROUPED,
            _ => return None,
        };
        tally.add(Kind::Card, self.at, percent);
        Some(self.end)
    }

    /// Area, group and serial number as they can be issued (20 CFR 422, and the rules of 2011).
    fn ssn(&self, text: &[u8], tally: &mut Tally) -> Option<usize> {
        let is_form = match (self.groups(), self.separator) {
            ([3, 2, 4], Some(b'-')) => true,
            ([3, 2, 4], Some(b' ')) | ([9], None) => is_called_ssn(&text[..self.at]),
            _ => false,
        };
        if !self.is_whole || !is_form {
            return None;
        }
        let value = self.digits().value();
        let (area, group, serial) = (value / 1_000_000, value / 10_000 % 100, value % 10_000);
        if matches!(area, 0 | 666 | 900..) || group == 0 || serial == 0 {
            return None;
        }
        // Two that were printed in wallets and leaflets, and those that everybody writes.
        let is_published = matches!(value, 78_051_120 | 219_099_999 | 123_456_789 | 111_223_333);
        tally.add(Kind::NationalId, self.at, if is_published { PUBLISHED } else { SSN });
        Some(self.end)
    }

    /// Ten digits of North America: `(212) 555-2368`, `212-555-2368`, `212.555.2368`.
    fn phone(&self, text: &[u8], tally: &mut Tally) -> Option<usize> {
        let (digits, end) = match self.groups() {
            [3, 3, 4] if self.is_whole && self.separator != Some(b' ') => {
                (self.digits().value(), self.end)
            }
            [1, 3, 3, 4] if self.is_whole && self.digits[0] == 1 => {
                (self.digits().value() - 10_000_000_000, self.end)
            }
            [3] if self.at > 0 && text[self.at - 1] == b'(' => {
                let rest = text[self.end..].strip_prefix(b")")?;
                let at = self.end + 1 + usize::from(rest.first() == Some(&b' '));
                let rest = Self::read(text, at);
                if rest.groups() != [3, 4] || !rest.is_whole {
                    return None;
                }
                (self.digits().value() * 10_000_000 + rest.digits().value(), rest.end)
            }
            _ => return None,
        };
        if !is_north_american(digits) {
            return None;
        }
        tally.add_contact(Kind::Phone, self.at, digits.to_be_bytes().into_iter());
        Some(end)
    }
}

/// Neither an area nor an exchange begins with 0 or 1, and 555-01xx is given to nobody.
fn is_north_american(digits: u64) -> bool {
    let (area, exchange) = (digits / 10_000_000, digits / 10_000 % 1000);
    (200..1000).contains(&area) && exchange >= 200 && !(exchange == 555 && digits % 10_000 < 200)
}

/// A plus, a country and 8 to 15 digits in all (ITU-T E.164).
fn international(text: &[u8], at: usize, tally: &mut Tally) -> Option<usize> {
    let is_sign = at == 1 || !is_word(text[at - 2]) && !b"+.)]".contains(&text[at - 2]);
    if !is_sign || text[at] == b'0' {
        return None;
    }
    let (mut value, mut len, mut end, mut separators) = (0u64, 0, at, 0);
    let mut seen = 0u16;
    let mut last = at;
    while let Some(byte) = text.get(end) {
        match byte {
            b'0'..=b'9' if len < 16 => {
                value = value * 10 + u64::from(byte - b'0');
                seen |= 1 << (byte - b'0');
                len += 1;
                last = end + 1;
            }
            b' ' | b'-' | b'.' | b'(' | b')' if end - last < 2 => separators += 1,
            _ => break,
        }
        end += 1;
    }
    let is_long = (10..=15).contains(&len) || (8..10).contains(&len) && separators > 1;
    // A round number with a sign is no phone, nor are the digits in order.
    let is_plain = seen.count_ones() < 4 || value % 10_000_000_000 == 1_234_567_890;
    if !is_long || is_plain || goes_on(&text[last..]) {
        return None;
    }
    let is_american = len == 11 && value / 10_000_000_000 == 1;
    let national = if is_american { value - 10_000_000_000 } else { value };
    if is_american && !is_north_american(national) {
        return None;
    }
    tally.add_contact(Kind::Phone, at - 1, national.to_be_bytes().into_iter());
    Some(last)
}

/// Whether the number stands in a list of long numbers that are no cards, as tables of constants
/// are. A list of cards is none.
fn is_listed(text: &[u8], at: usize, end: usize) -> bool {
    const REACH: usize = 64;
    const LONG: usize = 10;
    let is_other = |digits: &[u8]| {
        let plain: Vec<u8> = digits.iter().map(|byte| byte.wrapping_sub(b'0')).collect();
        plain.len() >= LONG && !Digits(&plain).is_card()
    };
    let after = &text[end..text.len().min(end + REACH)];
    let is_before_other = after.strip_prefix(b",").is_some_and(|rest| {
        let rest = rest.trim_ascii_start();
        is_other(&rest[..rest.iter().take_while(|byte| byte.is_ascii_digit()).count()])
    });
    let before = text[at.saturating_sub(REACH)..at].trim_ascii_end();
    let is_after_other = before.strip_suffix(b",").is_some_and(|rest| {
        let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        is_other(&rest[rest.len() - digits..])
    });
    is_before_other || is_after_other
}

/// Whether a word or number goes on with `after`.
fn goes_on(after: &[u8]) -> bool {
    match after {
        [first, ..] if is_word(*first) => true,
        [b'.' | b'-' | b'/' | b'@', second, ..] => is_word(*second),
        _ => false,
    }
}

/// Whether the words before say that a social security number follows.
fn is_called_ssn(before: &[u8]) -> bool {
    let before = &before[before.len().saturating_sub(32)..];
    let says = |word: &[u8]| before.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word));
    says(b"ssn") || says(b"social security")
}

/// Digits of a card.
#[derive(Clone, Copy)]
struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    fn value(self) -> u64 {
        self.0
            .iter()
            .fold(0, |value: u64, digit| value.wrapping_mul(10).wrapping_add(u64::from(*digit)))
    }

    /// Prefix and length of a network (ISO/IEC 7812), and the check digit of Luhn.
    fn is_card(self) -> bool {
        let Some(first) = self.0.get(..6) else { return false };
        let six = Digits(first).value();
        let lengths = match six {
            400_000..=499_999 => &[13, 16, 19][..],
            510_000..=559_999 | 222_100..=272_099 => &[16],
            340_000..=349_999 | 370_000..=379_999 => &[15],
            300_000..=305_999 | 360_000..=369_999 | 380_000..=399_999 => &[14],
            352_800..=358_999 => &[16, 17, 18, 19],
            601_100..=601_199 | 644_000..=659_999 => &[16, 17, 18, 19],
            620_000..=629_999 => &[16, 17, 18, 19],
            _ => return false,
        };
        lengths.contains(&self.0.len()) && self.has_luhn() && self.distinct() > 1
    }

    fn distinct(self) -> u32 {
        self.0.iter().fold(0u16, |seen, digit| seen | 1 << digit).count_ones()
    }

    fn has_luhn(self) -> bool {
        let twice = |digit: u8| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
        let weigh = |(index, digit): (usize, &u8)| match index % 2 {
            0 => u32::from(*digit),
            _ => u32::from(twice(*digit)),
        };
        self.0.iter().rev().enumerate().map(weigh).sum::<u32>() % 10 == 0
    }

    /// Numbers that networks and payment services print for tests.
    fn is_published(self) -> bool {
        const PUBLISHED: &[u64] = &[
            4_111_111_111_111_111,
            4_242_424_242_424_242,
            4_012_888_888_881_881,
            4_012_000_033_330_026,
            4_222_222_222_222,
            5_555_555_555_554_444,
            5_105_105_105_105_100,
            5_200_828_282_828_210,
            5_454_545_454_545_454,
            2_223_003_122_003_222,
            378_282_246_310_005,
            371_449_635_398_431,
            378_734_493_671_000,
            6_011_111_111_111_117,
            6_011_000_990_139_424,
            6_011_000_000_000_004,
            30_569_309_025_904,
            38_520_000_023_237,
            3_530_111_333_300_000,
            3_566_002_020_360_505,
            6_200_000_000_000_005,
        ];
        // Visa's range 400000 is issued to test systems only.
        self.distinct() <= 2
            || self.0.starts_with(&[4, 0, 0, 0, 0, 0])
            || PUBLISHED.contains(&self.value())
    }
}

/// Countries and the lengths of their numbers (SWIFT's registry of IBANs, ISO 13616).
const COUNTRIES: &[u8] =
    b"AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27\
DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30\
KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29\
PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30";

/// The examples that the registry and encyclopedias print.
const IBANS_PUBLISHED: &[&[u8]] = &[
    b"AE070331234567890123456",
    b"AT611904300234573201",
    b"BE68539007547034",
    b"CH9300762011623852957",
    b"CZ6508000000192000145399",
    b"DE89370400440532013000",
    b"DK5000400440116243",
    b"ES9121000418450200051332",
    b"FI2112345600000785",
    b"FR1420041010050500013M02606",
    b"GB29NWBK60161331926819",
    b"GB82WEST12345698765432",
    b"GR1601101250000000012300695",
    b"HU42117730161111101800000000",
    b"IE29AIBK93115212345678",
    b"IT60X0542811101000000123456",
    b"LU280019400644750000",
    b"MT84MALT011000012345MTLCAST001S",
    b"NL91ABNA0417164300",
    b"NO9386011117947",
    b"PL61109010140000071219812874",
    b"PT50000201231234567890154",
    b"RO49AAAA1B31007593840000",
    b"SA0380000000608010167519",
    b"SE4550000000058398257466",
    b"TR330006100519786457841326",
];

/// A country, two check digits, and the length that the country has; modulo 97 it leaves 1.
fn iban(text: &[u8], start: usize, tally: &mut Tally) -> Option<usize> {
    let country = text.get(start..start + 2)?;
    let entry = COUNTRIES.chunks_exact(4).find(|entry| entry.starts_with(country))?;
    if !begins_word(text, start) {
        return None;
    }
    let wanted = usize::from(entry[2] - b'0') * 10 + usize::from(entry[3] - b'0');
    let mut number = Vec::with_capacity(wanted);
    let mut end = start;
    let mut is_spaced = false;
    while number.len() < wanted {
        match text.get(end)? {
            byte if byte.is_ascii_digit() || byte.is_ascii_uppercase() => {
                number.push(*byte);
                is_spaced = false;
            }
            b' ' if !is_spaced => is_spaced = true,
            _ => return None,
        }
        end += 1;
    }
    let digits = number.iter().filter(|byte| byte.is_ascii_digit()).count();
    let check = number[4..].iter().chain(&number[..4]).fold(0u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        letter => (rest * 100 + u32::from(letter - b'A') + 10) % 97,
    });
    if digits < 8 || check != 1 || text.get(end).is_some_and(|byte| is_word(*byte)) {
        return None;
    }
    let is_published = IBANS_PUBLISHED.contains(&number.as_slice());
    tally.add(Kind::Iban, start, if is_published { PUBLISHED } else { IBAN });
    Some(end)
}
