//! Passphrases: read from a file that nobody else can read, or asked for on the terminal. Never an
//! argument or a variable, which other programs can see.

use std::io::{IsTerminal, Write};
use std::path::Path;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::{Zeroize, Zeroizing};

use crate::adapters::keystore::{Keystore, KeystoreError};
use crate::cli::client::CliError;
use crate::config;
use crate::domain::passphrase::{BYTES_MAX, Passphrase};
use crate::passphrase_file;

/// Control-C.
const INTERRUPT: u8 = 0x03;
/// Control-D.
const END_OF_INPUT: u8 = 0x04;
/// Control-H, as some terminals say backspace.
const BACKSPACE: u8 = 0x08;
/// Control-U.
const ERASE_LINE: u8 = 0x15;
/// As the others say it.
const DELETE: u8 = 0x7f;

/// Asks for the passphrase of the node's keystore, if that is encrypted, no file has it, and there is
/// a terminal to ask on.
///
/// # Errors
/// When the keystore cannot be looked at, or what is typed is no passphrase.
pub fn ask_for_node(node: &config::Node) -> Result<Option<Passphrase>, CliError> {
    if node.passphrase_file.is_some() || !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    if !Keystore::new(&node.data_dir).is_encrypted()? {
        return Ok(None);
    }
    ask("passphrase of the keystore").map(Some)
}

/// Unlocks a keystore if it is encrypted, with the passphrase in `file` or one that is typed.
///
/// # Errors
/// When there is no passphrase, or it is wrong.
pub(super) fn unlock(keystore: &Keystore, file: Option<&Path>) -> Result<(), CliError> {
    if !keystore.is_encrypted()? {
        return Ok(());
    }
    let passphrase = match file {
        Some(file) => passphrase_file::read(file)?,
        None if std::io::stdin().is_terminal() => ask("passphrase of the keystore")?,
        // Says what to do.
        None => return Ok(keystore.read().map(drop)?),
    };
    Ok(keystore.unlock(&passphrase)?)
}

/// The passphrase of `what`, in `file` or typed.
///
/// # Errors
/// When there is neither file nor terminal; `remedy` says how to name a file.
pub(super) fn known(file: Option<&Path>, what: &str, remedy: &str) -> Result<Passphrase, CliError> {
    match file {
        Some(file) => Ok(passphrase_file::read(file)?),
        None if std::io::stdin().is_terminal() => ask(what),
        None => Err(CliError::Usage(format!("there is no {what}: {remedy}"))),
    }
}

/// As [`known`], for a new one: what is typed is typed twice.
///
/// # Errors
/// As [`known`], and when both differ.
pub(super) fn fresh(file: Option<&Path>, what: &str, remedy: &str) -> Result<Passphrase, CliError> {
    let first = known(file, what, remedy)?;
    if file.is_none() && ask("the same again")?.as_bytes() != first.as_bytes() {
        return Err(CliError::Usage("the two passphrases differ".to_owned()));
    }
    Ok(first)
}

/// Asks for one line on the terminal without showing it.
fn ask(what: &str) -> Result<Passphrase, CliError> {
    let line = {
        // Before it is asked for, or what comes at once would be shown or thrown away.
        let _hidden = Hidden::start().map_err(std::io::Error::from)?;
        write!(std::io::stderr(), "{what}: ")?;
        read_line()
    };
    // The line end that was typed was not shown either.
    writeln!(std::io::stderr())?;
    let text = String::from_utf8(std::mem::take(&mut *line?));
    let text = text.map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        CliError::Usage("a passphrase is UTF-8".to_owned())
    })?;
    Passphrase::new(Zeroizing::new(text)).map_err(|error| CliError::Usage(error.to_string()))
}

/// Reads up to the next line end, past every buffer that would keep a copy. The terminal leaves the
/// keys that change a line to us.
fn read_line() -> Result<Zeroizing<Vec<u8>>, CliError> {
    let mut line = Zeroizing::new(Vec::with_capacity(BYTES_MAX + 1));
    let mut byte = [0];
    loop {
        let count = match rustix::io::read(std::io::stdin(), &mut byte) {
            Err(rustix::io::Errno::INTR) => continue,
            read => read.map_err(std::io::Error::from)?,
        };
        match byte[0] {
            _ if count == 0 => return Ok(line),
            b'\r' | b'\n' | END_OF_INPUT => return Ok(line),
            INTERRUPT => return Err(std::io::Error::from(std::io::ErrorKind::Interrupted).into()),
            BACKSPACE | DELETE => {
                // A whole character: the bytes that continue one, and the one that begins it.
                while line.pop().is_some_and(|last| last & 0xc0 == 0x80) {}
            }
            ERASE_LINE => line.zeroize(),
            // One more than a passphrase may have is enough to refuse it.
            other if line.len() <= BYTES_MAX => line.push(other),
            _ => {}
        }
    }
}

/// While it lives, the terminal does not show what is typed.
struct Hidden(Termios);

impl Hidden {
    fn start() -> Result<Self, rustix::io::Errno> {
        let shown = tcgetattr(std::io::stdin())?;
        let mut hidden = shown.clone();
        // An interrupt would end the process and leave the terminal as it is.
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
        hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(shown))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Nothing is left to do if the terminal is gone.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

impl From<KeystoreError> for CliError {
    fn from(error: KeystoreError) -> Self {
        Self::Keystore(Box::new(error))
    }
}
