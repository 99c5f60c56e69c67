//! Harm that shows in the text itself: secrets, personal data, and instructions that pretend to be
//! someone else's.
//!
//! Patterns with checksums where the format has one, and no dictionary of bad words: what a text
//! means is not judged here. Each kind has a weight, the probability of harm that one finding
//! stands for; the value is the greatest over the categories. One linear pass, and most text is
//! turned away by a single look at its bytes.

mod assigned;
mod entropy;
mod fold;
mod glance;
mod mail;
mod numbers;
mod secrets;
mod words;

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::domain::harm::words::Weak;
use crate::domain::score::Score;

/// The name of this detector in evidence.
pub const DETECTOR: &str = "harm-patterns";

/// Raised whenever some text is judged differently.
pub const VERSION: &str = "1";

/// Findings that are kept; all are counted. Sixteen places are enough to see what is wrong.
pub const FINDINGS_MAX: usize = 16;

/// Different addresses that are told apart; beyond that the value does not rise.
const CONTACTS_MAX: usize = 16;

/// Percent of harm for each different e-mail address or phone number. A letter names up to seven
/// people (28 %); what names eight is a list of people.
const CONTACT: u8 = 4;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A private key in full.
    PrivateKey,
    /// A key of a service, known by its form.
    ApiKey,
    /// A token that acts for a person or a program, known by its form.
    Token,
    /// A random value that the text itself calls a secret.
    Assigned,
    /// A name and a password in a URL.
    UrlPassword,
    /// The number of a payment card.
    Card,
    /// The number of a bank account.
    Iban,
    /// A national identity number.
    NationalId,
    /// An e-mail address of a person.
    Email,
    /// A phone number.
    Phone,
    /// Tells a model to drop its instructions.
    Override,
    /// Gives a model a role without rules.
    Persona,
    /// Asks a model for its instructions.
    Extraction,
    /// Asks a model to hide something from its user.
    Concealment,
    /// Pretends that another role of a conversation begins.
    RoleMarker,
    /// Text that only machines can see.
    Invisible,
    /// Control characters that show text in another order than it has.
    Bidi,
}

impl Kind {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PrivateKey => "private-key",
            Self::ApiKey => "api-key",
            Self::Token => "token",
            Self::Assigned => "assigned-secret",
            Self::UrlPassword => "url-password",
            Self::Card => "card",
            Self::Iban => "iban",
            Self::NationalId => "national-id",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Override => "override",
            Self::Persona => "persona",
            Self::Extraction => "extraction",
            Self::Concealment => "concealment",
            Self::RoleMarker => "role-marker",
            Self::Invisible => "invisible",
            Self::Bidi => "bidi",
        }
    }

    /// The category it counts in.
    pub const fn category(self) -> Category {
        match self {
            Self::PrivateKey | Self::ApiKey | Self::Token | Self::Assigned | Self::UrlPassword => {
                Category::Secrets
            }
            Self::Card | Self::Iban | Self::NationalId | Self::Email | Self::Phone => {
                Category::Personal
            }
            Self::Override
            | Self::Persona
            | Self::Extraction
            | Self::Concealment
            | Self::RoleMarker
            | Self::Invisible
            | Self::Bidi => Category::Injection,
        }
    }
}

/// What harm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// Keys, tokens and passwords.
    Secrets,
    /// Numbers and addresses of people.
    Personal,
    /// Instructions to a model that are not its user's.
    Injection,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 3] = [Self::Secrets, Self::Personal, Self::Injection];

    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secrets => "secrets",
            Self::Personal => "personal",
            Self::Injection => "injection",
        }
    }
}

/// One finding. It says where, and never what: evidence is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// The byte of the text it begins at.
    pub at: usize,
    /// The harm that it stands for alone.
    pub weight: Score,
}

/// The harm found in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Harm {
    value: Score,
    by_category: [Score; 3],
    findings: Vec<Finding>,
    total: usize,
}

impl Harm {
    /// Nothing was found.
    pub const NONE: Self =
        Self { value: Score::ZERO, by_category: [Score::ZERO; 3], findings: Vec::new(), total: 0 };

    /// The greatest over the categories. 0 says that nothing was found, not that nothing is there.
    pub fn value(&self) -> Score {
        self.value
    }

    /// The harm in one category.
    pub fn of(&self, category: Category) -> Score {
        match category {
            Category::Secrets => self.by_category[0],
            Category::Personal => self.by_category[1],
            Category::Injection => self.by_category[2],
        }
    }

    /// The gravest findings, at most [`FINDINGS_MAX`], in the order of the text.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How many there were in all.
    pub fn total(&self) -> usize {
        self.total
    }

    /// What a receipt says about it.
    pub fn evidence(&self) -> Value {
        let findings: Vec<Value> = self.findings.iter().map(finding_json).collect();
        let of = |category| self.of(category);
        json!({
            "detector": DETECTOR,
            "version": VERSION,
            "value": self.value,
            "categories": {
                "secrets": of(Category::Secrets),
                "personal": of(Category::Personal),
                "injection": of(Category::Injection),
            },
            "findings_total": self.total,
            "findings": findings,
        })
    }
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "kind": finding.kind.as_str(),
        "category": finding.kind.category().as_str(),
        "at": finding.at,
        "weight": finding.weight,
    })
}

/// Looks for harm. `is_over` is asked after every few microseconds of work, and never for a text of
/// one piece (16 KiB) or less that is clean; `None` if it ever said yes.
pub fn detect(text: &str, is_over: &mut dyn FnMut() -> bool) -> Option<Harm> {
    let glance = glance::glance(text.as_bytes(), is_over)?;
    if glance.is_clean() {
        return Some(Harm::NONE);
    }
    let mut tally = Tally::default();
    if !glance.has_foreign() {
        search(text, glance, &mut tally, is_over)?;
        return Some(tally.into_harm());
    }
    fold::find_hidden(text, &mut tally, is_over)?;
    match fold::fold(text, is_over)? {
        Cow::Borrowed(text) => search(text, glance, &mut tally, is_over)?,
        Cow::Owned(folded) => {
            let glance = glance::glance(folded.as_bytes(), is_over)?;
            let mut inner = Tally::default();
            search(&folded, glance, &mut inner, is_over)?;
            inner.unfold(text);
            tally.join(inner);
        }
    }
    Some(tally.into_harm())
}

fn search(
    text: &str,
    glance: glance::Glance,
    tally: &mut Tally,
    is_over: &mut dyn FnMut() -> bool,
) -> Option<()> {
    let bytes = text.as_bytes();
    if glance.has_anchors() {
        let (mut done_to, mut names_to) = (0, 0);
        glance::anchors(bytes, is_over, &mut |at| {
            // What a finding covers is not looked at again.
            if at >= done_to {
                done_to = secrets::probe(bytes, at, tally)
                    .or_else(|| assigned::probe(bytes, at, &mut names_to, tally))
                    .or_else(|| words::probe_role(bytes, at, tally))
                    .unwrap_or(done_to);
            }
        })?;
    }
    if glance.has_numbers() {
        numbers::find(bytes, tally, is_over)?;
    }
    if glance.has_at() {
        mail::find(bytes, tally, is_over)?;
    }
    if glance.has_words() {
        words::find(bytes, tally, is_over)?;
    }
    Some(())
}

/// Findings as they come in.
#[derive(Debug, Default)]
struct Tally {
    /// The gravest so far, lightest last.
    kept: Vec<(Kind, usize, u8)>,
    total: usize,
    /// Percent.
    by_category: [u8; 3],
    contacts: Vec<u64>,
    weak: u16,
}

impl Tally {
    /// Notes a finding that stands for `percent` of harm.
    fn add(&mut self, kind: Kind, at: usize, percent: u8) {
        self.total = self.total.saturating_add(1);
        let place = &mut self.by_category[kind.category() as usize];
        *place = (*place).max(percent);
        if self.kept.last().is_some_and(|(.., lightest)| percent <= *lightest)
            && self.kept.len() >= FINDINGS_MAX
        {
            return;
        }
        let index = self.kept.partition_point(|(.., weight)| *weight >= percent);
        self.kept.insert(index, (kind, at, percent));
        self.kept.truncate(FINDINGS_MAX);
    }

    /// Notes an address of a person; the same one counts once.
    fn add_contact(&mut self, kind: Kind, at: usize, normal: impl Iterator<Item = u8>) {
        let hash = normal.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        if self.contacts.contains(&hash) {
            return;
        }
        self.add(kind, at, CONTACT);
        if self.contacts.len() < CONTACTS_MAX {
            self.contacts.push(hash);
        }
    }

    /// Notes a phrase that stands in honest text too. Two different ones together do not.
    fn add_weak(&mut self, kind: Kind, at: usize, weak: Weak) {
        self.weak |= 1 << weak as u16;
        self.add(kind, at, words::WEAK);
    }

    /// Takes the places back to the text before it was folded.
    fn unfold(&mut self, text: &str) {
        let mut places: Vec<&mut usize> = self.kept.iter_mut().map(|(_, at, _)| at).collect();
        places.sort_unstable();
        fold::unfold(text, &mut places);
    }

    fn join(&mut self, other: Self) {
        let kept = other.kept.len();
        for (kind, at, percent) in other.kept {
            self.add(kind, at, percent);
        }
        self.total = self.total.saturating_add(other.total - kept);
        for (place, percent) in self.by_category.iter_mut().zip(other.by_category) {
            *place = (*place).max(percent);
        }
        // Only a folded text is searched for these.
        self.contacts = other.contacts;
        self.weak = other.weak;
    }

    fn into_harm(mut self) -> Harm {
        let several = |each: u8, count: usize| {
            u8::try_from(usize::from(each).saturating_mul(count)).unwrap_or(100).min(60)
        };
        let weak = several(words::WEAK, self.weak.count_ones() as usize);
        let personal = several(CONTACT, self.contacts.len());
        let [secrets, people, injection] = self.by_category;
        let by_category = [secrets, people.max(personal), injection.max(weak)];
        self.kept.sort_by_key(|(_, at, _)| *at);
        Harm {
            value: by_category.into_iter().max().map_or(Score::ONE, percent),
            by_category: by_category.map(percent),
            findings: self
                .kept
                .into_iter()
                .map(|(kind, at, weight)| Finding { kind, at, weight: percent(weight) })
                .collect(),
            total: self.total,
        }
    }
}

/// No weight is above 100; if one were, it would be the greatest harm.
fn percent(percent: u8) -> Score {
    Score::try_from(f64::from(percent) / 100.0).unwrap_or(Score::ONE)
}

#[cfg(test)]
mod tests;
