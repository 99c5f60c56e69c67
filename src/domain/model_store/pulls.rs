//! The pulls of a node: which run, which wait, and what became of the latest.

use std::collections::VecDeque;

use serde::Serialize;

use crate::domain::model_store::listing::ModelsError;
use crate::domain::model_store::{ModelName, Progress, Stage};

/// Pulls that run at once: more would share one line and one disk.
pub const RUNNING_MAX: usize = 2;
/// Pulls that wait or run.
pub const OPEN_MAX: usize = 16;
/// Pulls that are remembered, with those that have ended.
const KNOWN_MAX: usize = 64;
/// Milliseconds between two events that tell of nothing but more bytes.
const TELL_EVERY_MS: u64 = 1000;

/// How a pull stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PullState {
    /// Others go first.
    Queued,
    /// It runs.
    Running,
    /// The model is installed.
    Done,
    /// It came to nothing; the reason says why.
    Failed,
    /// It was told to end.
    Cancelled,
}

impl PullState {
    /// One word, for labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }
}

/// What is told of a pull.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PullInfo {
    /// Names it.
    pub id: String,
    /// The model.
    pub name: ModelName,
    /// How it stands.
    pub state: PullState,
    /// What is being done, while it runs.
    pub stage: Option<Stage>,
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes of the whole file.
    pub total: u64,
    /// Why it pauses or failed.
    pub reason: Option<String>,
    /// When it was asked for, in milliseconds since the Unix epoch.
    pub began_ms: u64,
    /// When it ended.
    pub ended_ms: Option<u64>,
}

#[derive(Clone, Debug)]
struct Pull {
    info: PullInfo,
    told_ms: u64,
}

/// Whether a pull is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is, and is to be started.
    New(PullInfo),
    /// The model is being pulled already.
    Same(PullInfo),
}

/// The pulls of a node, newest last.
#[derive(Clone, Debug, Default)]
pub struct Pulls {
    list: VecDeque<Pull>,
    made: u64,
}

impl Pulls {
    /// Takes up a pull of `name`, which has `total` bytes.
    ///
    /// # Errors
    /// When too many wait.
    pub fn begin(
        &mut self,
        name: &ModelName,
        total: u64,
        now_ms: u64,
    ) -> Result<Begun, ModelsError> {
        let mut open = self.list.iter().filter(|pull| pull.info.state.is_open());
        if let Some(same) = open.clone().find(|pull| pull.info.name == *name) {
            return Ok(Begun::Same(same.info.clone()));
        }
        if open.by_ref().count() >= OPEN_MAX {
            return Err(ModelsError::Full { waiting_max: OPEN_MAX });
        }
        while self.list.len() >= KNOWN_MAX {
            // There is one that has ended, as fewer are open than are known.
            let oldest = self.list.iter().position(|pull| !pull.info.state.is_open());
            let Some(oldest) = oldest else { break };
            self.list.remove(oldest);
        }
        self.made += 1;
        let info = PullInfo {
            id: format!("pull_{now_ms:x}_{}", self.made),
            name: name.clone(),
            state: PullState::Queued,
            stage: None,
            bytes: 0,
            total,
            reason: None,
            began_ms: now_ms,
            ended_ms: None,
        };
        self.list.push_back(Pull { info: info.clone(), told_ms: now_ms });
        Ok(Begun::New(info))
    }

    /// Notes how far a pull is. Returns what is to be told, which is not every piece.
    pub fn progress(&mut self, id: &str, progress: Progress, now_ms: u64) -> Option<PullInfo> {
        let pull = self.open(id)?;
        let is_news = pull.info.state != PullState::Running
            || pull.info.stage != Some(progress.stage)
            || now_ms.saturating_sub(pull.told_ms) >= TELL_EVERY_MS;
        pull.info.state = PullState::Running;
        pull.info.stage = Some(progress.stage);
        (pull.info.bytes, pull.info.total) = (progress.bytes, progress.total);
        pull.info.reason = progress.reason;
        if !is_news {
            return None;
        }
        pull.told_ms = now_ms;
        Some(pull.info.clone())
    }

    /// Notes what became of a pull. The first end counts; later ones return none.
    pub fn end(
        &mut self,
        id: &str,
        state: PullState,
        reason: Option<String>,
        now_ms: u64,
    ) -> Option<PullInfo> {
        let pull = self.open(id)?;
        pull.info.state = state;
        pull.info.stage = None;
        pull.info.reason = reason;
        pull.info.ended_ms = Some(now_ms);
        if state == PullState::Done {
            pull.info.bytes = pull.info.total;
        }
        Some(pull.info.clone())
    }

    /// What is known of a pull.
    pub fn find(&self, id: &str) -> Option<PullInfo> {
        self.list.iter().find(|pull| pull.info.id == id).map(|pull| pull.info.clone())
    }

    /// Every pull that is known, newest first.
    pub fn all(&self) -> Vec<PullInfo> {
        self.list.iter().rev().map(|pull| pull.info.clone()).collect()
    }

    fn open(&mut self, id: &str) -> Option<&mut Pull> {
        self.list.iter_mut().find(|pull| pull.info.id == id && pull.info.state.is_open())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> ModelName {
        ModelName::parse(&format!("m{n}")).unwrap()
    }

    fn begin(pulls: &mut Pulls, n: usize) -> String {
        match pulls.begin(&name(n), 100, 0) {
            Ok(Begun::New(info)) => info.id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_model_is_pulled_once_at_a_time() {
        let mut pulls = Pulls::default();
        let id = begin(&mut pulls, 1);
        let again = pulls.begin(&name(1), 100, 5).unwrap();
        assert!(matches!(again, Begun::Same(info) if info.id == id));
        pulls.end(&id, PullState::Failed, Some("x".into()), 6);
        assert_ne!(begin(&mut pulls, 1), id);
    }

    #[test]
    fn those_that_wait_are_bounded_and_those_that_ended_are_forgotten() {
        let mut pulls = Pulls::default();
        let first: Vec<String> = (0..OPEN_MAX).map(|n| begin(&mut pulls, n)).collect();
        assert_eq!(pulls.begin(&name(99), 1, 0), Err(ModelsError::Full { waiting_max: OPEN_MAX }));
        pulls.end(&first[0], PullState::Done, None, 1);
        for n in 100..1000 {
            let id = begin(&mut pulls, n);
            pulls.end(&id, PullState::Done, None, 1);
        }
        assert_eq!(pulls.all().len(), KNOWN_MAX);
        assert!(pulls.find(&first[0]).is_none(), "it ended long ago");
        assert!(pulls.find(&first[1]).is_some(), "it is open");
    }

    #[test]
    fn what_is_told_is_news() {
        let mut pulls = Pulls::default();
        let id = begin(&mut pulls, 1);
        let mut tell =
            |bytes, stage, now| pulls.progress(&id, Progress::of(stage, bytes, 100), now).is_some();
        assert!(tell(0, Stage::Downloading, 0));
        assert!(!tell(1, Stage::Downloading, 999));
        assert!(tell(2, Stage::Downloading, 1000));
        assert!(!tell(3, Stage::Downloading, 1001));
        assert!(tell(3, Stage::Pausing, 1002));
        assert_eq!(pulls.find(&id).unwrap().bytes, 3);
    }

    #[test]
    fn the_first_end_counts() {
        let mut pulls = Pulls::default();
        let id = begin(&mut pulls, 1);
        assert!(pulls.end(&id, PullState::Cancelled, None, 7).is_some());
        assert!(pulls.end(&id, PullState::Done, None, 8).is_none());
        assert!(pulls.progress(&id, Progress::of(Stage::Checking, 1, 1), 9).is_none());
        let info = pulls.find(&id).unwrap();
        assert_eq!((info.state, info.ended_ms), (PullState::Cancelled, Some(7)));
        assert!(pulls.end("pull_0_0", PullState::Done, None, 1).is_none());
    }
}
