//! A router, what it needs, and backends that do what they are told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bizra_omega::actor::{Actor, Failure, Turn};
use bizra_omega::actors::gate_chain::{self, GateChain};
use bizra_omega::actors::inference_router::{self, Backend, InferenceRouter, Rules};
use bizra_omega::adapters::store::Store;
use bizra_omega::domain::constitution::Constitution;
use bizra_omega::domain::envelope::{Draft, Sealed};
use bizra_omega::domain::identity::NodeKey;
use bizra_omega::domain::inference::request::{Limits, RawRequest};
use bizra_omega::domain::inference::{
    BackendError, FinishReason, Generated, InferenceError, ModelInfo, Tier,
};
use bizra_omega::domain::rate::Client;
use bizra_omega::domain::restart::Strategy;
use bizra_omega::messages::addr::{Addr, Deadline};
use bizra_omega::messages::backend::BackendMsg;
use bizra_omega::messages::envelope::{EnvelopeMsg, Issuer};
use bizra_omega::messages::event::Events;
use bizra_omega::messages::inference_router::{Answer, InferenceMsg};
use bizra_omega::metrics::Metrics;
use bizra_omega::supervisor::{ChildSpec, Root};
use serde_json::json;
use tokio::sync::mpsc;

use crate::support::{self, SECOND, permanent, settings};

/// What a scripted backend does with the next request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Streams `pieces` and answers with them.
    Answer(&'static [&'static str]),
    /// Streams `pieces`, then fails.
    Fail(&'static [&'static str], BackendError),
    /// Never answers.
    Hang,
    /// Dies over it.
    Die,
}

/// A backend that does what it is told.
#[derive(Clone, Debug)]
pub(crate) struct Scripted {
    name: &'static str,
    tier: Tier,
    acts: Arc<Mutex<VecDeque<Act>>>,
}

impl Scripted {
    pub(crate) fn new(name: &'static str, tier: Tier, acts: &[Act]) -> Self {
        Self { name, tier, acts: Arc::new(Mutex::new(acts.iter().cloned().collect())) }
    }

    pub(crate) fn left(&self) -> usize {
        self.acts.lock().unwrap().len()
    }
}

impl Actor for Scripted {
    type Msg = BackendMsg;
    type State = ();

    async fn start(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, message: BackendMsg, turn: Turn, (): &mut ()) -> Result<(), Failure> {
        match message {
            BackendMsg::Models { reply } => {
                reply.send(vec![listed(self.name, self.tier, self.left() > 0)]);
            }
            BackendMsg::Generate { tokens, mut reply, .. } => {
                let act = self.acts.lock().unwrap().pop_front().expect("an act per request");
                let model = model(self.name);
                let (pieces, outcome) = match act {
                    Act::Die => panic!("told to die"),
                    Act::Hang => {
                        turn.spawn(async move { reply.closed().await });
                        return Ok(());
                    }
                    Act::Answer(pieces) => (pieces, None),
                    Act::Fail(pieces, error) => (pieces, Some(error)),
                };
                turn.spawn(async move {
                    if let Some(tokens) = &tokens {
                        for piece in pieces {
                            let _ = tokens.send((*piece).to_owned()).await;
                        }
                    }
                    let whole = Generated {
                        text: pieces.concat(),
                        model,
                        model_digest: Some("blake3:00".into()),
                        prompt_tokens: 3,
                        completion_tokens: pieces.len(),
                        is_estimated: false,
                        engine: None,
                        finish_reason: FinishReason::Stop,
                        time_to_first_token: Duration::ZERO,
                        duration: Duration::ZERO,
                    };
                    reply.send(outcome.map_or(Ok(whole), Err));
                });
            }
        }
        Ok(())
    }
}

/// Keeps the drafts it is given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notary {
    drafts: Arc<Mutex<Vec<Draft>>>,
}

impl Actor for Notary {
    type Msg = EnvelopeMsg;
    type State = ();

    async fn start(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, message: EnvelopeMsg, _: Turn, (): &mut ()) -> Result<(), Failure> {
        let (draft, reply) = match message {
            EnvelopeMsg::Create { draft, reply } => (draft, reply),
            EnvelopeMsg::Issuer { reply } => {
                let active = *NodeKey::from_secret(&[7; 32]).public_key();
                reply.send(Ok(Issuer { active, known: vec![active], is_ready: true }));
                return Ok(());
            }
            other => panic!("{other:?}"),
        };
        let json = json!({ "payload": draft.payload, "gates": draft.gates });
        let sealed = Sealed { id: draft.id, json: Arc::new(json) };
        self.drafts.lock().unwrap().push(*draft);
        reply.send(Ok(sealed));
        Ok(())
    }
}

/// Messages that may wait behind each address: more than any test sends.
const PLACES: usize = 1024;

/// Of a backend: fewer than of the router, as in a node.
pub(crate) const BACKEND_PLACES: usize = 64;

/// A router and what is behind it.
pub(crate) struct House {
    pub(crate) root: Root,
    pub(crate) router: Addr<InferenceMsg>,
    pub(crate) drafts: Arc<Mutex<Vec<Draft>>>,
    pub(crate) events: Events,
    pub(crate) metrics: Metrics,
    _data_dir: tempfile::TempDir,
}

pub(crate) async fn house(backends: &[Scripted]) -> House {
    furnish(backends, Constitution::default()).await
}

pub(crate) async fn furnish(backends: &[Scripted], constitution: Constitution) -> House {
    let backends = backends.iter().map(|it| (it.name, it.tier, 8, it.clone()));
    build(backends, constitution, Rules::default()).await
}

/// A router over these backends: name, tier, requests at once, actor.
pub(crate) async fn build<A>(
    backends: impl Iterator<Item = (&'static str, Tier, usize, A)>,
    constitution: Constitution,
    rules: Rules,
) -> House
where
    A: Actor<Msg = BackendMsg> + Clone,
{
    let settings = settings(Strategy::OneForOne);
    let mut children = Vec::new();
    let mut known = Vec::new();
    let (metrics, events) = (&settings.metrics, settings.events.clone());
    for (name, tier, parallel, backend) in backends {
        let make = move || backend.clone();
        let places = BACKEND_PLACES;
        let (spec, addr) = ChildSpec::actor(name, permanent(), SECOND, places, metrics, make);
        children.push(spec);
        known.push(Backend { kind: "scripted", tier, parallel, addr });
    }
    let data_dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(data_dir.path(), 0).unwrap());
    let judge = GateChain::new(constitution, None, store, metrics).unwrap();
    let make = move || judge.clone();
    let name = gate_chain::NAME;
    let (spec, gates) = ChildSpec::actor(name, permanent(), SECOND, PLACES, metrics, make);
    children.push(spec);
    let notary = Notary::default();
    let drafts = notary.drafts.clone();
    let make = move || notary.clone();
    let (spec, envelope) = ChildSpec::actor("envelope", permanent(), SECOND, PLACES, metrics, make);
    children.push(spec);
    let router = InferenceRouter::new(gates, envelope, known, rules, metrics, Some(events.clone()));
    let make = move || router.clone();
    let name = inference_router::NAME;
    let (spec, router) = ChildSpec::actor(name, permanent(), SECOND, PLACES, metrics, make);
    children.push(spec);
    let metrics = settings.metrics.clone();
    let root = support::root(&settings, children).await;
    House { root, router, drafts, events, metrics, _data_dir: data_dir }
}

/// What a backend calls its model.
pub(crate) fn model(backend: &str) -> String {
    format!("{backend}-model")
}

/// That model, as a backend lists it.
pub(crate) fn listed(backend: &str, tier: Tier, is_available: bool) -> ModelInfo {
    ModelInfo {
        name: model(backend),
        tier,
        backend: backend.into(),
        parameters: None,
        quantization: None,
        context_length: None,
        is_available,
        is_loaded: true,
        last_seen_ms: 1,
        note: None,
    }
}

pub(crate) fn raw(tier: Option<&str>) -> RawRequest {
    let tier = tier.map(str::to_owned);
    RawRequest {
        prompt: "why?".into(),
        system: Some("be brief".into()),
        tier,
        ..Default::default()
    }
}

impl House {
    pub(crate) async fn ask(
        &self,
        raw: RawRequest,
        tokens: Option<mpsc::Sender<String>>,
        wait: Duration,
    ) -> Result<Answer, InferenceError> {
        self.ask_as(Client::V4(1), raw, tokens, wait).await
    }

    pub(crate) async fn ask_as(
        &self,
        client: Client,
        raw: RawRequest,
        tokens: Option<mpsc::Sender<String>>,
        wait: Duration,
    ) -> Result<Answer, InferenceError> {
        let request = Box::new(raw.validate(&Limits::default()).unwrap());
        // The caller waits a little longer than the work may take, to hear why there is no answer.
        let deadline = Deadline::after(wait);
        self.router
            .call(Deadline::after(wait + 5 * SECOND), |reply| InferenceMsg::Generate {
                request_id: "request-1".into(),
                client,
                request: request.clone(),
                tokens: tokens.clone(),
                deadline,
                reply,
            })
            .await
            .unwrap()
            .map(|answer| *answer)
    }

    pub(crate) async fn generate(&self, tier: Option<&str>) -> Result<Answer, InferenceError> {
        self.ask(raw(tier), None, 20 * SECOND).await
    }
}

pub(crate) fn outcomes(answer: &Answer) -> Vec<(Tier, &str, &str)> {
    answer
        .attempts
        .iter()
        .map(|attempt| (attempt.tier, attempt.backend.as_str(), attempt.outcome))
        .collect()
}

pub(crate) fn away() -> BackendError {
    BackendError::Unavailable("nobody is there".into())
}

pub(crate) fn busy() -> BackendError {
    BackendError::Busy { backend: "local".into() }
}

pub(crate) const HELLO: Act = Act::Answer(&["hel", "lo"]);
