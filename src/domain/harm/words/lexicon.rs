//! The words that have a role in a phrase. English, and the commonest forms in German, French,
//! Spanish, Italian, Portuguese and Dutch, without the marks on letters.

/// What a word may do in a phrase. A word may have several roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Roles(u32);

impl Roles {
    pub(super) const NONE: Self = Self(0);
    /// Drops something from the mind.
    pub(super) const DROP: Self = Self(1);
    /// Puts something in its place, or goes around it.
    pub(super) const SET_ASIDE: Self = Self(1 << 1);
    pub(super) const FOLLOW: Self = Self(1 << 2);
    pub(super) const NOT: Self = Self(1 << 3);
    /// Says that something came before.
    pub(super) const BEFORE: Self = Self(1 << 4);
    pub(super) const ALL: Self = Self(1 << 5);
    pub(super) const YOUR: Self = Self(1 << 6);
    pub(super) const INSTRUCTIONS: Self = Self(1 << 7);
    pub(super) const PROMPT: Self = Self(1 << 8);
    /// Rules, context, messages: what is also set aside in honest text.
    pub(super) const RULES: Self = Self(1 << 9);
    pub(super) const EVERYTHING: Self = Self(1 << 10);
    pub(super) const TOLD: Self = Self(1 << 11);
    pub(super) const SYSTEM: Self = Self(1 << 12);
    pub(super) const SAFETY: Self = Self(1 << 13);
    /// Gives away what is hidden.
    pub(super) const REVEAL: Self = Self(1 << 14);
    /// Shows anything.
    pub(super) const SHOW: Self = Self(1 << 15);
    pub(super) const REPEAT: Self = Self(1 << 16);
    pub(super) const WORDS: Self = Self(1 << 17);
    /// Begins a phrase about who one is.
    pub(super) const BECOME: Self = Self(1 << 18);
    /// Only with "now" after it.
    pub(super) const ARE: Self = Self(1 << 19);
    pub(super) const DO: Self = Self(1 << 20);
    pub(super) const ANYTHING: Self = Self(1 << 21);
    pub(super) const NOW: Self = Self(1 << 22);
    /// Without rules.
    pub(super) const FREE: Self = Self(1 << 23);
    pub(super) const TELL: Self = Self(1 << 24);
    pub(super) const USER: Self = Self(1 << 25);
    /// Instructions by that name.
    pub(super) const NAMED: Self = Self(1 << 26);

    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The roles of a word in lower case. Each phrase has a word in it that holds one of the grams of
/// the glance; a test holds that none gets past it.
pub(super) fn roles(word: &[u8]) -> Roles {
    match word {
        b"ignore" | b"disregard" | b"forget" | b"ignoriere" | b"ignorieren" | b"vergiss"
        | b"missachte" | b"ignorez" | b"ignorer" | b"oublie" | b"oubliez" | b"ignora"
        | b"ignorad" | b"olvida" | b"olvidad" | b"dimentica" | b"ignorate" | b"esqueca"
        | b"ignorar" | b"negeer" | b"vergeet" => Roles::DROP,
        b"override" | b"bypass" => Roles::SET_ASIDE,
        b"follow" | b"obey" | b"following" | b"obeying" => Roles::FOLLOW,
        b"not" | b"dont" | b"never" | b"stop" | b"without" | b"cease" => Roles::NOT,
        b"previous" | b"prior" | b"above" | b"preceding" | b"earlier" | b"foregoing"
        | b"aforementioned" | b"previously" | b"vorherigen" | b"vorigen" | b"bisherigen"
        | b"obigen" | b"vorangegangenen" | b"precedentes" | b"precedente" | b"anterieures"
        | b"anteriores" | b"anterior" | b"previas" | b"precedenti" | b"vorige" | b"eerdere"
        | b"voorgaande" | b"before" => Roles::BEFORE,
        b"all" | b"any" | b"every" | b"alle" | b"toutes" | b"todas" | b"tutte" => Roles::ALL,
        b"your" | b"deine" | b"tes" | b"vos" | b"tus" | b"tue" | b"suas" => Roles::YOUR,
        b"instructions" | b"instruktionen" | b"instrucciones" | b"instrucoes" | b"instructies" => {
            Roles::INSTRUCTIONS.with(Roles::NAMED)
        }
        b"directions" | b"directives" | b"guidelines" | b"anweisungen" | b"istruzioni" => {
            Roles::INSTRUCTIONS
        }
        b"prompt" | b"prompts" => Roles::PROMPT,
        b"rules" | b"context" | b"messages" | b"message" | b"commands" | b"orders"
        | b"instruction" | b"directive" | b"constraints" | b"restrictions" | b"policies"
        | b"policy" | b"filters" | b"filter" | b"training" | b"programming" | b"safeguards"
        | b"protocols" | b"regeln" | b"regles" | b"reglas" | b"regole" | b"regras" => Roles::RULES,
        b"everything" | b"anything" => Roles::EVERYTHING.with(Roles::ANYTHING),
        b"told" | b"instructed" | b"taught" => Roles::TOLD,
        b"system" | b"initial" | b"hidden" | b"original" | b"developer" => Roles::SYSTEM,
        b"safety" | b"ethical" | b"ethics" | b"moral" | b"content" => Roles::SAFETY,
        b"reveal" | b"leak" | b"divulge" | b"disclose" | b"exfiltrate" => Roles::REVEAL,
        b"print" | b"show" | b"output" | b"display" | b"give" | b"write" | b"what" | b"whats"
        | b"recite" | b"echo" => Roles::SHOW,
        b"repeat" => Roles::SHOW.with(Roles::REPEAT),
        b"tell" => Roles::SHOW.with(Roles::TELL),
        b"telling" => Roles::TELL,
        b"words" | b"text" => Roles::WORDS,
        b"are" => Roles::BECOME.with(Roles::ARE),
        b"act" | b"pretend" | b"become" | b"roleplay" => Roles::BECOME,
        b"do" => Roles::BECOME.with(Roles::DO),
        b"now" => Roles::NOW,
        b"jailbroken" | b"unrestricted" | b"uncensored" | b"unfiltered" | b"dan" => Roles::FREE,
        b"user" | b"users" | b"human" => Roles::USER,
        _ => Roles::NONE,
    }
}
