//! Has an Ollama server fetch a model, and follows it.

use reqwest::Response;
use serde::Deserialize;
use serde_json::json;

use crate::adapters::ollama::Server;
use crate::adapters::ollama::frames::FrameError;
use crate::adapters::ollama::lines::Lines;
use crate::adapters::upstream::{ServerError, Waits, clip, reason_of, refusal};

/// How far a server is with fetching a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It does this, in its own words, for instance `pulling manifest`.
    Step(String),
    /// It fetches a file.
    File {
        /// What identifies the file.
        digest: String,
        /// Bytes that it has.
        done_bytes: u64,
        /// Bytes of the whole file.
        bytes: u64,
    },
    /// It has the model.
    Done,
}

/// A model on its way. Dropping it makes the server stop; what it has by then it keeps, and goes on
/// from there the next time.
#[derive(Debug)]
pub struct Pull {
    answer: Response,
    lines: Lines,
    waits: Waits,
    is_over: bool,
}

#[derive(Deserialize)]
struct Line {
    error: Option<String>,
    status: Option<String>,
    digest: Option<String>,
    total: Option<u64>,
    #[serde(default)]
    completed: u64,
}

impl Server {
    /// Has the server fetch `model`.
    ///
    /// # Errors
    /// When the server is not there, refuses, or is silent for [`Waits::first_token`].
    pub async fn pull(&self, model: &str) -> Result<Pull, ServerError> {
        let answer = self.post("pull", &json!({ "model": model, "stream": true })).await?;
        if !answer.status().is_success() {
            return Err(refusal(answer, model, self.waits.probe).await);
        }
        Ok(Pull { answer, lines: Lines::default(), waits: self.waits, is_over: false })
    }
}

impl Pull {
    /// How far it is; the last is [`Progress::Done`]. Then `None`.
    ///
    /// # Errors
    /// When the connection breaks, the server reports an error, is silent for
    /// [`Waits::first_token`] (it also checks what it has fetched), or ends without saying that it
    /// has the model.
    pub async fn next(&mut self) -> Result<Option<Progress>, ServerError> {
        if self.is_over {
            return Ok(None);
        }
        loop {
            if let Some(line) = self.lines.read()? {
                let progress = progress(line)?;
                self.is_over = progress == Progress::Done;
                return Ok(Some(progress));
            }
            let wait = self.waits.first_token;
            match tokio::time::timeout(wait, self.answer.chunk()).await {
                Ok(Ok(Some(bytes))) => self.lines.push(&bytes)?,
                Ok(Ok(None)) if self.lines.end()? => {}
                Ok(Ok(None)) => return Err(FrameError::Cut.into()),
                Ok(Err(error)) => return Err(ServerError::Unreadable(reason_of(&error))),
                Err(_) => return Err(ServerError::Stalled(wait)),
            }
        }
    }
}

fn progress(line: Line) -> Result<Progress, FrameError> {
    if let Some(error) = line.error {
        return Err(FrameError::Reported(error));
    }
    match (line.status, line.digest, line.total) {
        (Some(status), ..) if status == "success" => Ok(Progress::Done),
        (_, Some(digest), Some(bytes)) => Ok(Progress::File {
            digest: clip(&digest),
            done_bytes: line.completed.min(bytes),
            bytes,
        }),
        (Some(status), ..) => Ok(Progress::Step(clip(&status))),
        (None, ..) => Err(FrameError::NotAFrame("it has no status".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Progress, FrameError> {
        progress(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn a_line_says_how_far_it_is() {
        let file = |done_bytes| Progress::File { digest: "sha256:ab".into(), done_bytes, bytes: 9 };
        for (line, expected) in [
            (r#"{"status":"pulling manifest"}"#, Progress::Step("pulling manifest".into())),
            (r#"{"status":"pulling ab","digest":"sha256:ab","total":9}"#, file(0)),
            (r#"{"status":"pulling ab","digest":"sha256:ab","total":9,"completed":5}"#, file(5)),
            (r#"{"status":"pulling ab","digest":"sha256:ab","total":9,"completed":99}"#, file(9)),
            (r#"{"status":"success"}"#, Progress::Done),
        ] {
            assert_eq!(read(line), Ok(expected), "{line}");
        }
        assert_eq!(read(r#"{"error":"no space"}"#), Err(FrameError::Reported("no space".into())));
        assert!(matches!(read("{}"), Err(FrameError::NotAFrame(_))));
    }
}
