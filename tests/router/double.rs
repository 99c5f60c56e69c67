//! Backends that work, fail or hang as they are told at the time, and count what they are asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bizra_omega::actor::{Actor, Failure, Turn};
use bizra_omega::actors::inference_router::Rules;
use bizra_omega::domain::constitution::Constitution;
use bizra_omega::domain::inference::{BackendError, FinishReason, Generated, Tier};
use bizra_omega::messages::backend::BackendMsg;
use bizra_omega::messages::inference_router::{BackendInfo, InferenceMsg};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::house::{House, build, listed, model};
use crate::support::SECOND;

/// What a [`Double`] does with requests, also with those on their way.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// Answers after this time.
    Works(Duration),
    /// Fails with this.
    Fails(BackendError),
    /// Never answers.
    Hangs,
}

/// A backend that does as it is told at the time.
#[derive(Clone, Debug)]
pub(crate) struct Double {
    pub(crate) name: &'static str,
    pub(crate) tier: Tier,
    pub(crate) parallel: usize,
    mode: Arc<watch::Sender<Mode>>,
    asked: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    cancelled: Arc<AtomicUsize>,
}

impl Double {
    pub(crate) fn new(name: &'static str, tier: Tier, parallel: usize, mode: Mode) -> Self {
        Self {
            name,
            tier,
            parallel,
            mode: Arc::new(watch::Sender::new(mode)),
            asked: Arc::default(),
            running: Arc::default(),
            most: Arc::default(),
            cancelled: Arc::default(),
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Calls so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The most calls at one time.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// Calls that nobody wanted any more.
    pub(crate) fn cancelled(&self) -> usize {
        self.cancelled.load(Ordering::SeqCst)
    }

    async fn answer(
        &self,
        tokens: Option<mpsc::Sender<String>>,
    ) -> Result<Generated, BackendError> {
        let began = Instant::now();
        let mut mode = self.mode.subscribe();
        loop {
            let wait = match mode.borrow_and_update().clone() {
                Mode::Works(time) => time.saturating_sub(began.elapsed()),
                Mode::Fails(error) => return Err(error),
                Mode::Hangs => 3600 * SECOND,
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => break,
                _ = mode.changed() => {}
            }
        }
        if let Some(tokens) = tokens {
            let _ = tokens.send("hello".to_owned()).await;
        }
        Ok(Generated {
            text: "hello".into(),
            model: model(self.name),
            model_digest: None,
            prompt_tokens: 3,
            completion_tokens: 1,
            is_estimated: false,
            engine: None,
            finish_reason: FinishReason::Stop,
            time_to_first_token: began.elapsed(),
            duration: began.elapsed(),
        })
    }
}

impl Actor for Double {
    type Msg = BackendMsg;
    type State = ();

    async fn start(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, message: BackendMsg, turn: Turn, (): &mut ()) -> Result<(), Failure> {
        let (tokens, mut reply) = match message {
            BackendMsg::Generate { tokens, reply, .. } => (tokens, reply),
            BackendMsg::Models { reply } => {
                reply.send(vec![listed(self.name, self.tier, true)]);
                return Ok(());
            }
        };
        self.asked.fetch_add(1, Ordering::SeqCst);
        let double = self.clone();
        turn.spawn(async move {
            let running = double.running.fetch_add(1, Ordering::SeqCst) + 1;
            double.most.fetch_max(running, Ordering::SeqCst);
            tokio::select! {
                outcome = double.answer(tokens) => reply.send(outcome),
                () = reply.closed() => {
                    double.cancelled.fetch_add(1, Ordering::SeqCst);
                }
            }
            double.running.fetch_sub(1, Ordering::SeqCst);
        });
        Ok(())
    }
}

/// A router over these.
pub(crate) async fn over(doubles: &[Double], rules: Rules) -> House {
    let backends = doubles.iter().map(|it| (it.name, it.tier, it.parallel, it.clone()));
    build(backends, Constitution::default(), rules).await
}

/// Rules under which nothing is asked again and no breaker opens.
pub(crate) fn plain() -> Rules {
    let mut rules = Rules::default();
    rules.retry.repeats_max = 0;
    (rules.breaker.in_a_row, rules.breaker.calls_min) = (u32::MAX, usize::MAX);
    rules
}

pub(crate) async fn info(house: &House, name: &str) -> BackendInfo {
    let deadline = bizra_omega::messages::addr::Deadline::after(SECOND);
    let infos = house.router.call(deadline, |reply| InferenceMsg::Backends { reply }).await;
    infos.unwrap().into_iter().find(|info| info.name == name).unwrap()
}
