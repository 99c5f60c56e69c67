//! The inference router over scripted backends: order, fallback, gates, proof.

mod support;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bizra_omega::actor::{Actor, Failure, Turn};
use bizra_omega::actors::backend::edge::EdgeBackend;
use bizra_omega::actors::gate_chain::{self, GateChain};
use bizra_omega::actors::inference_router::{self, InferenceRouter};
use bizra_omega::adapters::edge::generate::Limits as EngineLimits;
use bizra_omega::adapters::store::Store;
use bizra_omega::domain::constitution::{Constitution, DEFAULT_TOML};
use bizra_omega::domain::digest::domain_separated_digest;
use bizra_omega::domain::envelope::{Draft, EnvelopeId, Sealed};
use bizra_omega::domain::identity::NodeKey;
use bizra_omega::domain::inference::request::{Limits, RawRequest};
use bizra_omega::domain::inference::{
    BackendError, FinishReason, Generated, InferenceError, ModelInfo, Tier,
};
use bizra_omega::domain::reject::RejectCode;
use bizra_omega::domain::restart::Strategy;
use bizra_omega::messages::addr::{Addr, Deadline};
use bizra_omega::messages::backend::BackendMsg;
use bizra_omega::messages::envelope::{EnvelopeMsg, Issuer};
use bizra_omega::messages::inference_router::{Answer, InferenceMsg, Recommendation};
use bizra_omega::supervisor::{ChildSpec, Root};
use serde_json::json;
use support::{SECOND, permanent, settings};
use tokio::sync::mpsc;

/// What a scripted backend does with the next request.
#[derive(Clone, Debug)]
enum Act {
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
struct Scripted {
    name: &'static str,
    tier: Tier,
    acts: Arc<Mutex<VecDeque<Act>>>,
}

impl Scripted {
    fn new(name: &'static str, tier: Tier, acts: &[Act]) -> Self {
        Self { name, tier, acts: Arc::new(Mutex::new(acts.iter().cloned().collect())) }
    }

    fn left(&self) -> usize {
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
            BackendMsg::Models { reply } => reply.send(vec![ModelInfo {
                name: format!("{}-model", self.name),
                tier: self.tier,
                backend: self.name.into(),
                parameters: None,
                quantization: None,
                context_length: None,
                is_available: self.left() > 0,
                is_loaded: true,
                last_seen_ms: 1,
                note: None,
            }]),
            BackendMsg::Generate { tokens, mut reply, .. } => {
                let act = self.acts.lock().unwrap().pop_front().expect("an act per request");
                let model = format!("{}-model", self.name);
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
struct Notary {
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

/// A router and what is behind it.
struct House {
    _root: Root,
    router: Addr<InferenceMsg>,
    drafts: Arc<Mutex<Vec<Draft>>>,
    _data_dir: tempfile::TempDir,
}

async fn house(backends: &[Scripted]) -> House {
    furnish(backends, Constitution::default()).await
}

async fn furnish(backends: &[Scripted], constitution: Constitution) -> House {
    let settings = settings(Strategy::OneForOne);
    let mut children = Vec::new();
    let mut known = Vec::new();
    let metrics = &settings.metrics;
    for backend in backends {
        let (name, tier, backend) = (backend.name, backend.tier, backend.clone());
        let make = move || backend.clone();
        let (spec, addr) = ChildSpec::actor(name, permanent(), SECOND, 8, metrics, make);
        children.push(spec);
        known.push((tier, addr));
    }
    let data_dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(data_dir.path(), 0).unwrap());
    let judge = GateChain::new(constitution, None, store, metrics).unwrap();
    let make = move || judge.clone();
    let (spec, gates) = ChildSpec::actor(gate_chain::NAME, permanent(), SECOND, 64, metrics, make);
    children.push(spec);
    let notary = Notary::default();
    let drafts = notary.drafts.clone();
    let make = move || notary.clone();
    let (spec, envelope) = ChildSpec::actor("envelope", permanent(), SECOND, 64, metrics, make);
    children.push(spec);
    let router = InferenceRouter::new(gates, envelope, known);
    let make = move || router.clone();
    let name = inference_router::NAME;
    let (spec, router) = ChildSpec::actor(name, permanent(), SECOND, 64, metrics, make);
    children.push(spec);
    House { _root: support::root(&settings, children).await, router, drafts, _data_dir: data_dir }
}

fn raw(tier: Option<&str>) -> RawRequest {
    let tier = tier.map(str::to_owned);
    RawRequest {
        prompt: "why?".into(),
        system: Some("be brief".into()),
        tier,
        ..Default::default()
    }
}

impl House {
    async fn ask(
        &self,
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
                request: request.clone(),
                tokens: tokens.clone(),
                deadline,
                reply,
            })
            .await
            .unwrap()
            .map(|answer| *answer)
    }

    async fn generate(&self, tier: Option<&str>) -> Result<Answer, InferenceError> {
        self.ask(raw(tier), None, 20 * SECOND).await
    }
}

fn outcomes(answer: &Answer) -> Vec<(Tier, &str, &str)> {
    answer
        .attempts
        .iter()
        .map(|attempt| (attempt.tier, attempt.backend.as_str(), attempt.outcome))
        .collect()
}

fn away() -> BackendError {
    BackendError::Unavailable("nobody is there".into())
}

fn busy() -> BackendError {
    BackendError::Busy { backend: "local".into() }
}

const HELLO: Act = Act::Answer(&["hel", "lo"]);

#[tokio::test]
async fn the_proof_holds_hashes_attempts_text_and_both_receipts() {
    let local = Scripted::new("local", Tier::Local, &[Act::Fail(&[], away())]);
    let house = house(&[Scripted::new("edge", Tier::Edge, &[HELLO]), local]).await;
    let answer = house.generate(Some("local")).await.unwrap();
    assert_eq!(answer.generated.text, "hello");
    let tiers = (answer.requested_tier, answer.tier, answer.is_degraded);
    assert_eq!(tiers, (Some(Tier::Local), Tier::Edge, true));
    let tried = [(Tier::Local, "local", "unavailable"), (Tier::Edge, "edge", "ok")];
    assert_eq!(outcomes(&answer), tried);

    let draft = house.drafts.lock().unwrap()[0].clone();
    assert_eq!(draft.id, answer.envelope.id);
    assert_eq!(draft.ttl_s, 3600);
    let payload = &draft.payload;
    let hash = |text: &str| json!(domain_separated_digest(text.as_bytes()).to_hex());
    assert_eq!(payload["prompt_hash"], hash("why?"));
    assert_eq!(payload["system_hash"], hash("be brief"));
    assert_eq!(payload["text"], "hello");
    assert_eq!(payload["model"], "edge-model");
    assert_eq!(payload["model_digest"], "blake3:00");
    assert_eq!((&payload["tier"], &payload["requested_tier"]), (&json!("Edge"), &json!("Local")));
    assert_eq!(payload["degraded"], true);
    assert_eq!(payload["attempts"][0]["outcome"], "unavailable");
    assert_eq!(payload["parameters"]["max_tokens"], 512);
    assert!(!payload.to_string().contains("why?"), "the prompt itself is not in the proof");
    let gates = draft.gates.unwrap();
    assert_eq!(gates["input"]["input_hash"], hash("why?"));
    assert_eq!(gates["system"]["input_hash"], hash("be brief"));
    assert_eq!(gates["output"]["input_hash"], hash("hello"));
    assert_eq!(gates["output"]["profile"], "inference-output");
    let of = |gate: &str| {
        let gates = gates["output"]["gates"].as_array().unwrap();
        gates.iter().find(|verdict| verdict["gate"] == gate).unwrap().clone()
    };
    assert_eq!((&of("harm")["score"], &of("harm")["source"]), (&json!(0.0), &json!("measured")));
    assert_eq!(of("snr")["source"], "unavailable", "one word cannot be measured");
    assert_eq!(of("ihsan")["evidence"]["coverage"], 0.56);
    let fate = &of("fate")["evidence"];
    assert_eq!((&fate["holds"], &fate["missing"]), (&json!(true), &json!([])), "{fate}");
}

#[tokio::test]
async fn two_requests_with_one_id_get_two_envelopes() {
    let house = house(&[Scripted::new("edge", Tier::Edge, &[HELLO, HELLO])]).await;
    let ids: Vec<EnvelopeId> = [
        house.generate(None).await.unwrap().envelope.id,
        house.generate(None).await.unwrap().envelope.id,
    ]
    .into();
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_tier_without_backend_is_recorded_and_degrades() {
    let house = house(&[Scripted::new("edge", Tier::Edge, &[HELLO])]).await;
    let answer = house.generate(Some("pool")).await.unwrap();
    assert!(answer.is_degraded);
    let tried = [(Tier::Pool, "none", "unavailable"), (Tier::Edge, "edge", "ok")];
    assert_eq!(outcomes(&answer), tried);
}

#[tokio::test]
async fn text_that_was_seen_is_never_begun_anew() {
    let local = Scripted::new("local", Tier::Local, &[Act::Fail(&["half"], away())]);
    let edge = Scripted::new("edge", Tier::Edge, &[HELLO]);
    let house = house(&[edge.clone(), local]).await;
    let (sender, mut pieces) = mpsc::channel(8);
    let error = house.ask(raw(Some("local")), Some(sender), 20 * SECOND).await.unwrap_err();
    assert!(matches!(error, InferenceError::Failed(_)), "{error:?}");
    assert_eq!(pieces.recv().await.as_deref(), Some("half"));
    assert_eq!(pieces.recv().await, None);
    assert_eq!(edge.left(), 1, "no other backend was asked");
    assert!(house.drafts.lock().unwrap().is_empty(), "and nothing was sealed");
}

#[tokio::test]
async fn a_stream_carries_exactly_the_sealed_text() {
    let local = Scripted::new("local", Tier::Local, &[Act::Fail(&[], busy())]);
    let house = house(&[Scripted::new("edge", Tier::Edge, &[HELLO]), local]).await;
    let (sender, mut pieces) = mpsc::channel(8);
    let answer = house.ask(raw(Some("local")), Some(sender), 20 * SECOND).await.unwrap();
    let mut shown = String::new();
    while let Some(piece) = pieces.recv().await {
        shown.push_str(&piece);
    }
    assert_eq!(shown, answer.generated.text);
    assert_eq!(outcomes(&answer)[0].2, "busy");
}

#[tokio::test]
async fn a_backend_that_dies_over_a_streamed_request_is_passed_over() {
    let local = Scripted::new("local", Tier::Local, &[Act::Die]);
    let house = house(&[Scripted::new("edge", Tier::Edge, &[HELLO]), local]).await;
    let (sender, _pieces) = mpsc::channel(8);
    let answer = house.ask(raw(Some("local")), Some(sender), 20 * SECOND).await.unwrap();
    assert_eq!(outcomes(&answer)[0], (Tier::Local, "local", "unavailable"));
}

#[tokio::test]
async fn without_an_answer_there_is_an_error_and_never_a_text() {
    let fail = |error: BackendError| [Act::Fail(&[], error)];
    let failed = BackendError::Failed { backend: "edge".into(), reason: "out of memory".into() };
    let too_long = BackendError::TooLong { tokens: 9, max_tokens: 9, context: 9 };
    let cases = [
        (away(), "edge: nobody is there"),
        (busy(), "every backend is busy"),
        (failed, "edge: out of memory"),
        (too_long, "the context holds 9"),
        (BackendError::Timeout { backend: "edge".into() }, "no answer in time"),
    ];
    for (error, expected) in cases {
        let house = house(&[Scripted::new("edge", Tier::Edge, &fail(error))]).await;
        let said = house.generate(None).await.unwrap_err().to_string();
        assert!(said.contains(expected) && house.drafts.lock().unwrap().is_empty(), "{said}");
    }
    let said = house(&[]).await.generate(None).await.unwrap_err();
    assert_eq!(said, InferenceError::Unavailable("this node has no backend".into()));
}

#[tokio::test]
async fn a_failure_that_others_would_share_is_not_tried_elsewhere() {
    let failed = BackendError::Failed { backend: "local".into(), reason: "no".into() };
    let local = Scripted::new("local", Tier::Local, &[Act::Fail(&[], failed)]);
    let edge = Scripted::new("edge", Tier::Edge, &[HELLO]);
    let house = house(&[edge.clone(), local]).await;
    assert!(matches!(house.generate(Some("local")).await, Err(InferenceError::Failed(_))));
    assert_eq!(edge.left(), 1);
}

#[tokio::test]
async fn the_deadline_ends_a_request_whatever_a_backend_does() {
    let house = house(&[Scripted::new("edge", Tier::Edge, &[Act::Hang])]).await;
    let error = house.ask(raw(None), None, Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error, InferenceError::Timeout);
}

#[tokio::test]
async fn an_unknown_model_is_refused_and_the_known_are_listed() {
    let edge = Scripted::new("edge", Tier::Edge, &[HELLO]);
    let house = house(&[edge, Scripted::new("local", Tier::Local, &[])]).await;
    let raw = RawRequest { model: Some("gpt".into()), ..raw(None) };
    let error = house.ask(raw, None, 20 * SECOND).await.unwrap_err();
    let available = vec!["edge-model".to_owned(), "local-model".to_owned()];
    assert_eq!(error, InferenceError::UnknownModel { model: "gpt".into(), tier: None, available });
}

#[tokio::test]
async fn a_model_of_another_tier_than_the_one_asked_for_is_not_used() {
    let edge = Scripted::new("edge", Tier::Edge, &[HELLO]);
    let local = Scripted::new("local", Tier::Local, &[HELLO]);
    let house = house(&[edge.clone(), local.clone()]).await;
    let asked = RawRequest { model: Some("local-model".into()), ..raw(Some("edge")) };
    let said = house.ask(asked, None, 20 * SECOND).await.unwrap_err().to_string();
    let expected =
        "no model local-model in tier Edge; there is: edge-model (Edge), local-model (Local)";
    assert_eq!(said, expected);
    assert_eq!((edge.left(), local.left()), (1, 1), "nobody was asked");
    let asked = RawRequest { model: Some("local-model".into()), ..raw(Some("local")) };
    assert_eq!(house.ask(asked, None, 20 * SECOND).await.unwrap().tier, Tier::Local);
}

#[tokio::test]
async fn what_the_gates_refuse_reaches_nobody() {
    let strict = DEFAULT_TOML.replace("ihsan = \"advisory\"", "ihsan = \"strict\"");
    let edge = Scripted::new("edge", Tier::Edge, &[HELLO]);
    let strict = Constitution::parse("strict", &strict).unwrap();
    let house = furnish(std::slice::from_ref(&edge), strict).await;
    let error = house.generate(None).await.unwrap_err();
    assert_eq!(error.to_string(), "the ihsan score is missing: nothing but safety is verified");
    assert!(matches!(error, InferenceError::Refused { code: RejectCode::RejectGateIhsan, .. }));
    assert_eq!(edge.left(), 1, "the model was not asked");

    // The same after the model spoke: only the profile for answers is strict.
    let (input, output) = DEFAULT_TOML.split_once("[profiles.inference-output]").unwrap();
    let output = output.replace("snr = \"advisory\"", "snr = \"strict\"");
    let text = format!("{input}[profiles.inference-output]{output}");
    let strict = Constitution::parse("strict", &text).unwrap();
    let house = furnish(std::slice::from_ref(&edge), strict).await;
    assert!(matches!(house.generate(None).await, Err(InferenceError::Refused { .. })));
    assert_eq!(edge.left(), 0, "the model was asked");
    assert!(house.drafts.lock().unwrap().is_empty(), "and its answer not sealed");
}

#[tokio::test]
async fn a_recommendation_knows_what_is_available() {
    let edge = Scripted::new("edge", Tier::Edge, &[HELLO]);
    let house = house(&[edge, Scripted::new("local", Tier::Local, &[])]).await;
    let recommend = |reply| InferenceMsg::Recommend {
        prompt: "Explain the tides.".into(),
        max_tokens: 512,
        is_latency_sensitive: false,
        reply,
    };
    let Recommendation { tier, complexity, reasoning, available } =
        house.router.call(Deadline::after(5 * SECOND), recommend).await.unwrap();
    assert_eq!((tier, complexity), (Tier::Edge, "complex"));
    assert_eq!(available, [Tier::Edge]);
    assert!(reasoning.contains("asks for Local"), "{reasoning}");
}

/// A supervised edge backend over the model at `path`, or the model inside the program.
async fn edge(path: Option<&std::path::Path>) -> (Root, Addr<BackendMsg>) {
    let settings = settings(Strategy::OneForOne);
    let backend = EdgeBackend::new(path, 1, EngineLimits::default());
    let make = move || backend.clone();
    let (spec, addr) = ChildSpec::actor("edge", permanent(), SECOND, 8, &settings.metrics, make);
    (support::root(&settings, vec![spec]).await, addr)
}

async fn generate(addr: &Addr<BackendMsg>, raw: RawRequest) -> Result<Generated, BackendError> {
    let request = raw.validate(&Limits::default()).unwrap();
    let deadline = Deadline::after(60 * SECOND);
    addr.call(deadline, |reply| BackendMsg::Generate {
        request: request.clone(),
        tokens: None,
        deadline,
        reply,
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_missing_model_is_told_with_its_path_and_the_fix() {
    let (_root, addr) = edge(Some(std::path::Path::new("/nonexistent/model.gguf"))).await;
    let Err(BackendError::Unavailable(reason)) = generate(&addr, raw(None)).await else {
        panic!("there is no such file")
    };
    assert!(reason.contains("/nonexistent/model.gguf") && reason.contains("--model"), "{reason}");
    let ask = |reply| BackendMsg::Models { reply };
    let models = addr.call(Deadline::after(SECOND), ask).await.unwrap();
    assert!(!models[0].is_available && models[0].note.is_some());
}

#[tokio::test]
async fn a_length_that_was_not_asked_for_shrinks_to_the_models_room() {
    let (_root, addr) = edge(None).await;
    let long = RawRequest { prompt: "the rain in the barn ".repeat(40), ..raw(None) };
    let stop = vec![" ".to_owned(), "e".to_owned(), "a".to_owned(), "\n".to_owned()];
    let bare = RawRequest { stop: stop.clone(), ..long.clone() };
    assert!(generate(&addr, bare).await.is_ok());
    let asked = RawRequest { max_tokens: Some(4096), ..long };
    assert!(matches!(generate(&addr, asked).await, Err(BackendError::TooLong { .. })));
}
