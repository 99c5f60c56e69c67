//! Cuts an Ollama stream into lines, each one JSON object, whatever the chunks.

use serde::de::DeserializeOwned;

use crate::adapters::ollama::frames::FrameError;

/// Bytes of one line. One holds a token's text and at the end a page of numbers.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// Bytes in, objects out.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// What came and was not read yet.
    buffer: Vec<u8>,
    /// Bytes of the buffer that were read.
    taken: usize,
}

impl Lines {
    /// Takes a chunk as it came; refuses a line that never ends.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), FrameError> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(chunk);
        let is_over =
            self.buffer.len() > LINE_BYTES_MAX && !self.buffer[..LINE_BYTES_MAX].contains(&b'\n');
        if is_over {
            return Err(FrameError::TooLong { what: "a line", bytes_max: LINE_BYTES_MAX });
        }
        Ok(())
    }

    /// No chunk follows. Whether a line is left, which needs no line end of its own.
    pub(super) fn end(&mut self) -> Result<bool, FrameError> {
        if self.buffer[self.taken..].iter().all(u8::is_ascii_whitespace) {
            return Ok(false);
        }
        self.push(b"\n").map(|()| true)
    }

    /// The next line that is not blank, if it has come as a whole.
    pub(super) fn read<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        loop {
            let rest = &self.buffer[self.taken..];
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
            let line = rest[..end].trim_ascii();
            self.taken += end + 1;
            if !line.is_empty() {
                let line = serde_json::from_slice(line);
                return line.map(Some).map_err(|error| FrameError::NotAFrame(error.to_string()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_never_ends_is_refused() {
        let mut lines = Lines::default();
        let mut chunks = std::iter::repeat_n(vec![b'x'; 64 * 1024], 5);
        assert!(chunks.any(|chunk| lines.push(&chunk).is_err()));
    }
}
