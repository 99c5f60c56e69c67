//! What the lines of an Ollama stream say: one JSON object a line, whatever the chunks.

use serde::Deserialize;

use crate::adapters::ollama::lines::Lines;
use crate::adapters::upstream::TEXT_BYTES_MAX;

/// A frame of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A piece of text, possibly empty (a thinking model thinks).
    Text(String),
    /// The last frame.
    End {
        /// Tokens of the prompt, if reported; some servers do not count those they had cached.
        prompt_tokens: Option<usize>,
        /// Tokens generated, if reported.
        completion_tokens: Option<usize>,
        /// `stop`, `length`, or what else the server says.
        reason: Option<String>,
    },
}

/// Why a stream cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The server says that it failed.
    #[error("{0}")]
    Reported(String),
    /// A line is no frame.
    #[error("a line is no frame: {0}")]
    NotAFrame(String),
    /// A line or the text is too long.
    #[error("{what} with more than {bytes_max} bytes")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// The limit.
        bytes_max: usize,
    },
    /// The stream ended without its last frame.
    #[error("the answer ended without its last frame")]
    Cut,
}

/// Bytes in, frames out.
#[derive(Debug, Default)]
pub struct Frames {
    lines: Lines,
    text_bytes: usize,
    /// A last frame came with text; the text goes first.
    last: Option<Frame>,
}

#[derive(Deserialize)]
struct Line {
    error: Option<String>,
    #[serde(default)]
    message: Message,
    /// The text of a continued prompt, which comes without a message.
    #[serde(default)]
    response: String,
    #[serde(default)]
    done: bool,
    done_reason: Option<String>,
    prompt_eval_count: Option<usize>,
    eval_count: Option<usize>,
}

#[derive(Default, Deserialize)]
struct Message {
    #[serde(default)]
    content: String,
}

impl Frames {
    /// Takes a chunk as it came.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] when a line never ends.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), FrameError> {
        self.lines.push(chunk)
    }

    /// No chunk follows: what is left must be a whole line.
    ///
    /// # Errors
    /// [`FrameError::Cut`] when nothing is left, so that the last frame never came.
    pub fn end(&mut self) -> Result<(), FrameError> {
        if self.lines.end()? { Ok(()) } else { Err(FrameError::Cut) }
    }

    /// The next frame, if it has come as a whole.
    ///
    /// # Errors
    /// When it is none, reports an error, or the text grows too long.
    pub fn read(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.last.is_some() {
            return Ok(self.last.take());
        }
        let line = self.lines.read()?;
        line.map(|line| self.frame(line)).transpose()
    }

    fn frame(&mut self, line: Line) -> Result<Frame, FrameError> {
        if let Some(error) = line.error {
            return Err(FrameError::Reported(error));
        }
        let mut text = line.message.content;
        text.push_str(&line.response);
        self.text_bytes += text.len();
        if self.text_bytes > TEXT_BYTES_MAX {
            return Err(FrameError::TooLong { what: "a text", bytes_max: TEXT_BYTES_MAX });
        }
        if !line.done {
            return Ok(Frame::Text(text));
        }
        let end = Frame::End {
            prompt_tokens: line.prompt_eval_count,
            completion_tokens: line.eval_count,
            reason: line.done_reason,
        };
        if text.is_empty() {
            return Ok(end);
        }
        self.last = Some(end);
        Ok(Frame::Text(text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = concat!(
        "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"na\u{ef}ve \"},",
        "\"done\":false}\r\n\n",
        "{\"message\":{\"content\":\"\u{1f600}\"},\"done\":false}\n",
        "{\"message\":{\"content\":\"\",\"thinking\":\"hm\"},\"done\":false}\n",
        "{\"message\":{\"content\":\"!\"},\"done\":true,\"done_reason\":\"length\",",
        "\"prompt_eval_count\":7,\"eval_count\":3}\n",
    );

    fn text(content: &str) -> Frame {
        Frame::Text(content.into())
    }

    fn whole() -> Vec<Frame> {
        let reason = Some("length".to_owned());
        let end = Frame::End { prompt_tokens: Some(7), completion_tokens: Some(3), reason };
        vec![text("na\u{ef}ve "), text("\u{1f600}"), text(""), text("!"), end]
    }

    fn read(frames: &mut Frames) -> Result<Vec<Frame>, FrameError> {
        let mut read = Vec::new();
        while let Some(frame) = frames.read()? {
            read.push(frame);
        }
        Ok(read)
    }

    fn one(line: &str) -> Result<Vec<Frame>, FrameError> {
        let mut frames = Frames::default();
        frames.push(line.as_bytes())?;
        read(&mut frames)
    }

    proptest! {
        #[test]
        fn frames_do_not_depend_on_where_chunks_end(
            mut cuts in proptest::collection::vec(0..STREAM.len(), 0..12),
        ) {
            cuts.sort_unstable();
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            let mut from = 0;
            for to in cuts.into_iter().chain([STREAM.len()]) {
                frames.push(&STREAM.as_bytes()[from..to]).unwrap();
                seen.extend(read(&mut frames).unwrap());
                from = to;
            }
            prop_assert_eq!(seen, whole());
            prop_assert_eq!(frames.end(), Err(FrameError::Cut));
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..8),
        ) {
            let mut frames = Frames::default();
            for chunk in chunks {
                if frames.push(&chunk).is_err() || read(&mut frames).is_err() {
                    break;
                }
            }
            let _ = frames.end();
        }
    }

    #[test]
    fn a_last_line_needs_no_newline() {
        let mut frames = Frames::default();
        frames.push(STREAM.trim_end().as_bytes()).unwrap();
        assert_eq!(read(&mut frames).unwrap(), &whole()[..3]);
        frames.end().unwrap();
        assert_eq!(read(&mut frames).unwrap(), &whole()[3..]);
    }

    #[test]
    fn a_continued_prompt_comes_without_messages() {
        let said = one("{\"model\":\"m\",\"response\":\"na\u{ef}ve\",\"done\":false}\n").unwrap();
        assert_eq!(said, [text("na\u{ef}ve")]);
    }

    #[test]
    fn an_error_inside_the_stream_is_an_error() {
        let said = one("{\"message\":{\"content\":\"a\"}}\n{\"error\":\"out of memory\"}\n");
        assert_eq!(said, Err(FrameError::Reported("out of memory".into())));
    }

    #[test]
    fn what_is_no_frame_is_an_error_and_not_skipped() {
        for line in ["<html>\n", "{\"message\":\n", "[]\n", "\"\u{e9}\"\n", "{\"done\":1}\n"] {
            assert!(matches!(one(line), Err(FrameError::NotAFrame(_))), "{line}");
        }
        let mut frames = Frames::default();
        frames.push(b"{\"message\":{\"content\":\"\xff\"}}\n").unwrap();
        assert!(matches!(frames.read(), Err(FrameError::NotAFrame(_))));
    }

    #[test]
    fn missing_numbers_are_missing() {
        let end = Frame::End { prompt_tokens: None, completion_tokens: None, reason: None };
        assert_eq!(one("{\"done\":true}\n"), Ok(vec![end]));
    }

    #[test]
    fn texts_are_bounded() {
        let line = format!("{{\"message\":{{\"content\":\"{}\"}}}}\n", "x".repeat(100_000));
        let mut frames = Frames::default();
        let is_over = (0..6).any(|_| {
            frames.push(line.as_bytes()).unwrap();
            read(&mut frames).is_err()
        });
        assert!(is_over);
    }
}
