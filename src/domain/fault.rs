//! Ways to fail on purpose.

/// A way to fail, for drills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The handler panics.
    Panic,
    /// The handler returns an error.
    Error,
    /// The actor stops by itself.
    Stop,
    /// The actor is killed from outside.
    Kill,
    /// The handler never returns.
    Freeze,
}

impl Fault {
    /// Every fault, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Panic, Self::Error, Self::Stop, Self::Kill, Self::Freeze];

    /// Its name on the wire and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Freeze => "freeze",
        }
    }

    /// What it does, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Panic => "The handler panics",
            Self::Error => "The handler returns an error",
            Self::Stop => "The actor stops by itself",
            Self::Kill => "The actor is killed from outside",
            Self::Freeze => "The handler never returns",
        }
    }

    /// Reads a name of [`Fault::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_by_its_name_and_nothing_else_is() {
        for fault in Fault::ALL {
            assert_eq!(Fault::from_name(fault.as_str()), Some(fault));
        }
        for other in ["", "Panic", "panic ", "sleep", "\u{e9}"] {
            assert_eq!(Fault::from_name(other), None, "{other:?}");
        }
    }
}
