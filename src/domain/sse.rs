//! Cuts a stream of server-sent events into events, whatever the chunks.
//!
//! As the [HTML standard](https://html.spec.whatwg.org/multipage/server-sent-events.html) has it,
//! but for three things: what is not UTF-8 is an error and not replaced, an event that the end of
//! the stream cuts short is given as far as it came, and an event has a size.

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type, empty if it has none.
    pub name: String,
    /// Its data; the lines of several are joined by line feeds.
    pub data: String,
}

/// Why a stream cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// An event is too long.
    #[error("an event with more than {bytes_max} bytes")]
    TooLong {
        /// The most that it may have.
        bytes_max: usize,
    },
    /// A line is no text.
    #[error("an event that is not UTF-8")]
    NotText,
}

/// Bytes in, events out.
#[derive(Debug)]
pub struct Events {
    /// Bytes that a line may have, and the data of an event.
    bytes_max: usize,
    /// What came and was not read yet.
    buffer: Vec<u8>,
    /// Bytes of the buffer that were read.
    taken: usize,
    /// Bytes of the buffer in which the end of the next line is not.
    looked_at: usize,
    /// The last line ended with a carriage return, so that a line feed here belongs to it.
    skips_line_feed: bool,
    has_begun: bool,
    event: Event,
    has_data: bool,
}

impl Events {
    /// Reads events of at most so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            buffer: Vec::new(),
            taken: 0,
            looked_at: 0,
            skips_line_feed: false,
            has_begun: false,
            event: Event::default(),
            has_data: false,
        }
    }

    /// Takes a chunk as it came.
    ///
    /// # Errors
    /// [`SseError::TooLong`] when a line never ends.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), SseError> {
        self.buffer.drain(..self.taken);
        self.looked_at = self.looked_at.saturating_sub(self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(chunk);
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let is_over =
            self.buffer.len() > self.bytes_max && !self.buffer[..self.bytes_max].iter().any(is_end);
        if is_over { Err(self.too_long()) } else { Ok(()) }
    }

    /// The next event, if it has come as a whole.
    ///
    /// # Errors
    /// When it is too long or no text.
    pub fn read(&mut self) -> Result<Option<Event>, SseError> {
        loop {
            if self.skips_line_feed && self.taken < self.buffer.len() {
                self.taken += usize::from(self.buffer[self.taken] == b'\n');
                self.skips_line_feed = false;
            }
            let from = self.taken;
            let fresh = self.looked_at.max(from);
            let end = self.buffer[fresh..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let Some(end) = end.map(|end| fresh + end) else {
                self.looked_at = self.buffer.len();
                return Ok(None);
            };
            self.skips_line_feed = self.buffer[end] == b'\r';
            self.taken = end + 1;
            if let Some(event) = self.line(from, end)? {
                return Ok(Some(event));
            }
        }
    }

    /// No chunk follows: the event that the end cut short, if there is one.
    ///
    /// # Errors
    /// When it is too long or no text.
    pub fn end(&mut self) -> Result<Option<Event>, SseError> {
        self.push(b"\n\n")?;
        // The first line end closes the last line, the second one the event.
        self.read()
    }

    /// Reads the line between two places of the buffer; an empty one ends an event.
    fn line(&mut self, from: usize, to: usize) -> Result<Option<Event>, SseError> {
        let line = &self.buffer[from..to];
        // A byte order mark at the very beginning is not part of the text.
        let line = match line.strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) if !self.has_begun => rest,
            _ => line,
        };
        self.has_begun = true;
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            // An event without data is none.
            return Ok(std::mem::take(&mut self.has_data).then_some(event));
        }
        let line = std::str::from_utf8(line).map_err(|_| SseError::NotText)?;
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                let gap = if std::mem::replace(&mut self.has_data, true) { "\n" } else { "" };
                if self.event.data.len() + gap.len() + value.len() > self.bytes_max {
                    return Err(self.too_long());
                }
                self.event.data.push_str(gap);
                self.event.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.event.name),
            // Comments begin with a colon; ids and times to reconnect mean nothing here.
            _ => {}
        }
        Ok(None)
    }

    fn too_long(&self) -> SseError {
        SseError::TooLong { bytes_max: self.bytes_max }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BYTES_MAX: usize = 256 * 1024;

    const STREAM: &str = concat!(
        "\u{feff}data: na\u{ef}ve\r\n\r\n",
        ": a comment\n\n",
        "event: error\rdata:one\rdata: two\r\r",
        "data\n\n",
        "id: 7\nretry: 1\nunknown: x\ndata:  \u{1f600}\n\n",
        "event: lost\n\n",
        "data: [DONE]\n",
    );

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.into(), data: data.into() }
    }

    fn whole() -> Vec<Event> {
        let smile = event("", " \u{1f600}");
        vec![event("", "na\u{ef}ve"), event("error", "one\ntwo"), event("", ""), smile]
    }

    fn read(events: &mut Events) -> Result<Vec<Event>, SseError> {
        std::iter::from_fn(|| events.read().transpose()).collect()
    }

    proptest! {
        #[test]
        fn events_do_not_depend_on_where_chunks_end(
            mut cuts in proptest::collection::vec(0..STREAM.len(), 0..20),
        ) {
            cuts.sort_unstable();
            let mut events = Events::new(BYTES_MAX);
            let (mut seen, mut from) = (Vec::new(), 0);
            for to in cuts.into_iter().chain([STREAM.len()]) {
                events.push(&STREAM.as_bytes()[from..to]).unwrap();
                seen.extend(read(&mut events).unwrap());
                from = to;
            }
            prop_assert_eq!(seen, whole());
            prop_assert_eq!(events.end(), Ok(Some(event("", "[DONE]"))));
            prop_assert_eq!(events.end(), Ok(None));
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            chunks in proptest::collection::vec(
                proptest::collection::vec(prop_oneof![
                    any::<u8>(), Just(b'\n'), Just(b'\r'), Just(b':'), Just(b'd'),
                ], 0..64),
                0..8,
            ),
        ) {
            let mut events = Events::new(BYTES_MAX);
            for chunk in chunks {
                if events.push(&chunk).is_err() || read(&mut events).is_err() {
                    break;
                }
            }
            let _ = events.end();
        }

        #[test]
        fn what_is_written_is_read(
            texts in proptest::collection::vec("[^\r\n]{0,20}(\n[^\r\n]{0,20}){0,3}", 0..6),
        ) {
            let mut events = Events::new(BYTES_MAX);
            for text in &texts {
                for line in text.split('\n') {
                    events.push(format!("data: {line}\n").as_bytes()).unwrap();
                }
                events.push(b"\n").unwrap();
            }
            let data: Vec<_> = read(&mut events).unwrap().into_iter().map(|e| e.data).collect();
            prop_assert_eq!(data, texts);
        }
    }

    #[test]
    fn what_is_not_utf_8_is_an_error() {
        let mut events = Events::new(BYTES_MAX);
        events.push(b"data: \xff\n\n").unwrap();
        assert_eq!(events.read(), Err(SseError::NotText));
    }

    #[test]
    fn lines_and_events_are_bounded() {
        let mut events = Events::new(BYTES_MAX);
        let mut chunks = std::iter::repeat_n(vec![b'x'; 64 * 1024], 5);
        assert!(chunks.any(|chunk| events.push(&chunk) == Err(SseError::TooLong { bytes_max: BYTES_MAX })));
        let line = format!("data: {}\n", "x".repeat(100_000));
        let mut events = Events::new(BYTES_MAX);
        let is_over = (0..4).any(|_| {
            events.push(line.as_bytes()).unwrap();
            read(&mut events) == Err(SseError::TooLong { bytes_max: BYTES_MAX })
        });
        assert!(is_over);
    }
}
