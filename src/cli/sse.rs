//! Server-sent events (HTML standard, section 9.2) as the node sends them.

/// Bytes of one event: an answer with its envelope, with room.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: String,
}

/// Why the stream cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SseError {
    /// An event has no end in sight.
    #[error("an event is larger than {EVENT_BYTES_MAX} bytes")]
    Large,
    /// A line is no text.
    #[error("an event is not UTF-8")]
    Encoding,
}

/// Takes bytes as they come, and gives whole events.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// What has come and is no whole line yet.
    bytes: Vec<u8>,
    /// How many of them were looked at.
    seen: usize,
    name: String,
    data: Option<String>,
}

impl Reader {
    /// Takes the next bytes, and returns the events that they complete.
    ///
    /// # Errors
    /// [`SseError`]
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, SseError> {
        self.bytes.extend_from_slice(bytes);
        let mut events = Vec::new();
        let mut start = 0;
        while let Some(at) = self.bytes[self.seen..].iter().position(|byte| *byte == b'\n') {
            let end = self.seen + at;
            let line = &self.bytes[start..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let line = std::str::from_utf8(line).map_err(|_| SseError::Encoding)?;
            events.extend(take(&mut self.name, &mut self.data, line));
            (start, self.seen) = (end + 1, end + 1);
        }
        self.bytes.drain(..start);
        self.seen = self.bytes.len();
        let held = self.bytes.len() + self.data.as_ref().map_or(0, String::len);
        if held > EVENT_BYTES_MAX { Err(SseError::Large) } else { Ok(events) }
    }
}

/// Reads one line; an empty one ends an event.
fn take(name: &mut String, data: &mut Option<String>, line: &str) -> Option<Event> {
    if line.is_empty() {
        let name = std::mem::take(name);
        return data.take().map(|data| Event { name, data });
    }
    let (field, value) = line.split_once(':').unwrap_or((line, ""));
    let value = value.strip_prefix(' ').unwrap_or(value);
    match field {
        "event" => value.clone_into(name),
        "data" => match data {
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
            None => *data = Some(value.to_owned()),
        },
        // A comment, or a field that the node does not send.
        _ => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let stream = "event: token\ndata: {\"text\":\"h\u{e9}\"}\n\n: comment\n\nevent:done\r\n\
                      data:a\r\ndata: b\r\n\r\ndata\n\n";
        let expected =
            [event("token", "{\"text\":\"h\u{e9}\"}"), event("done", "a\nb"), event("", "")];
        for size in 1..=stream.len() {
            let mut reader = Reader::default();
            let cut = stream.as_bytes().chunks(size);
            let events: Vec<_> = cut.flat_map(|bytes| reader.push(bytes).unwrap()).collect();
            assert_eq!(events, expected, "{size}");
        }
    }

    #[test]
    fn an_event_without_end_and_one_that_is_no_text_are_refused() {
        let mut reader = Reader::default();
        assert_eq!(reader.push(&vec![b'x'; EVENT_BYTES_MAX]), Ok(Vec::new()));
        assert_eq!(reader.push(b"x"), Err(SseError::Large));
        let mut reader = Reader::default();
        let line = [b"data: ", &vec![b'x'; 1 << 20][..], b"\n"].concat();
        assert!((0..17).any(|_| reader.push(&line) == Err(SseError::Large)));
        assert_eq!(Reader::default().push(b"data: \xff\n"), Err(SseError::Encoding));
    }
}
