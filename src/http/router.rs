//! Every route, by what it lets its caller do.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use hyper::StatusCode;

use crate::http::app::{App, Until};
use crate::http::auth::Class;
use crate::http::error::ApiError;
use crate::http::observe::observe;
use crate::http::server::Peer;
use crate::http::{
    actors, audit, backends, body, constitution, docs, envelope, federation, gates, health,
    identity, inference, metrics, models, openai, patterns, preferences, status, token, ws,
};
use crate::messages::addr::Deadline;

/// How much later than its handler a request is given up, so that the handler, which knows more,
/// is the one to say what took too long.
const LAST_WORD: std::time::Duration = std::time::Duration::from_millis(250);

pub(super) const HEALTH: &str = "/api/v1/health";
pub(super) const LIVE: &str = "/livez";
pub(super) const READY: &str = "/readyz";
pub(super) const STATUS: &str = "/api/v1/status";
pub(super) const METRICS: &str = "/api/v1/metrics";
pub(super) const OPENAPI: &str = "/openapi.json";
pub(super) const DOCS: &str = "/docs";
pub(super) const ACTORS: &str = "/api/v1/actors";
pub(super) const CONSTITUTION: &str = "/api/v1/constitution";
pub(super) const CONSTITUTION_CHECK: &str = "/api/v1/constitution/check";
pub(super) const CONSTITUTION_RELOAD: &str = "/api/v1/constitution/reload";
pub(super) const IDENTITY: &str = "/api/v1/identity";
pub(super) const IDENTITY_VERIFY: &str = "/api/v1/identity/verify";
pub(super) const ENVELOPE_VERIFY: &str = "/api/v1/pci/envelope/verify";
pub(super) const GATES_CHECK: &str = "/api/v1/pci/gates/check";
pub(super) const MODELS: &str = "/api/v1/inference/models";
pub(super) const BACKENDS: &str = "/api/v1/inference/backends";
pub(super) const STORE: &str = "/api/v1/models";
pub(super) const STORE_PULL: &str = "/api/v1/models/pull";
pub(super) const STORE_PULL_FIND: &str = "/api/v1/models/pulls/{id}";
pub(super) const STORE_PULL_CANCEL: &str = "/api/v1/models/pulls/{id}/cancel";
pub(super) const STORE_VERIFY: &str = "/api/v1/models/verify";
pub(super) const STORE_REMOVE: &str = "/api/v1/models/remove";
pub(super) const TIER: &str = "/api/v1/inference/tier";
pub(super) const GENERATE: &str = "/api/v1/inference/generate";
pub(super) const OPENAI_CHAT: &str = "/v1/chat/completions";
pub(super) const OPENAI_COMPLETIONS: &str = "/v1/completions";
pub(super) const OPENAI_EMBEDDINGS: &str = "/v1/embeddings";
pub(super) const OPENAI_MODELS: &str = "/v1/models";
pub(super) const OPENAI_MODEL: &str = "/v1/models/{id}";
pub(super) const WS: &str = "/api/v1/ws";
pub(super) const IDENTITY_GENERATE: &str = "/api/v1/identity/generate";
pub(super) const IDENTITY_ACTIVATE: &str = "/api/v1/identity/activate";
pub(super) const IDENTITY_ROTATE: &str = "/api/v1/identity/rotate";
pub(super) const IDENTITY_SIGN: &str = "/api/v1/identity/sign";
pub(super) const ENVELOPE_CREATE: &str = "/api/v1/pci/envelope/create";
pub(super) const ENVELOPE: &str = "/api/v1/pci/envelope/{id}";
pub(super) const ENVELOPES: &str = "/api/v1/pci/envelopes";
pub(super) const FEDERATION_STATUS: &str = "/api/v1/federation/status";
pub(super) const FEDERATION_PEERS: &str = "/api/v1/federation/peers";
pub(super) const PROPOSALS: &str = "/api/v1/federation/proposals";
pub(super) const PROPOSAL: &str = "/api/v1/federation/proposals/{id}";
pub(super) const PROPOSE: &str = "/api/v1/federation/propose";
pub(super) const PREFERENCES: &str = "/api/v1/preferences";
pub(super) const PREFERENCES_OF: &str = "/api/v1/preferences/of/{subject}";
pub(super) const PREFERENCES_APPLY: &str = "/api/v1/preferences/apply";
pub(super) const PREFERENCES_OBSERVE: &str = "/api/v1/preferences/observe";
pub(super) const PREFERENCES_FORGET: &str = "/api/v1/preferences/forget";
pub(super) const PATTERNS: &str = "/api/v1/patterns";
pub(super) const PATTERNS_BATCH: &str = "/api/v1/patterns/batch";
pub(super) const PATTERNS_RECALL: &str = "/api/v1/patterns/recall";
pub(super) const PATTERNS_STATS: &str = "/api/v1/patterns/stats";
pub(super) const PATTERN: &str = "/api/v1/patterns/{id}";
pub(super) const PATTERN_FEEDBACK: &str = "/api/v1/patterns/{id}/feedback";
pub(super) const PATTERN_FEEDBACK_SIGN: &str = "/api/v1/patterns/{id}/feedback/sign";
pub(super) const PATTERN_PIN: &str = "/api/v1/patterns/{id}/pin";
pub(super) const PATTERN_UNPIN: &str = "/api/v1/patterns/{id}/unpin";
pub(super) const PATTERN_ELEVATE: &str = "/api/v1/patterns/{id}/elevate";
pub(super) const TOKEN_ROTATE: &str = "/api/v1/token/rotate";
pub(super) const ACTOR_STOP: &str = "/api/v1/actors/{name}/stop";

/// Every path pattern, with its class: the labels of metrics, and what the tests go through.
pub const ROUTES: [(&str, Class); 60] = [
    (HEALTH, Class::Open),
    (LIVE, Class::Open),
    (READY, Class::Open),
    (STATUS, Class::Read),
    (METRICS, Class::Read),
    (OPENAPI, Class::Read),
    (DOCS, Class::Read),
    (ACTORS, Class::Read),
    (CONSTITUTION, Class::Read),
    (CONSTITUTION_CHECK, Class::Read),
    (IDENTITY, Class::Read),
    (IDENTITY_VERIFY, Class::Read),
    (ENVELOPE_VERIFY, Class::Read),
    (ENVELOPE, Class::Read),
    (GATES_CHECK, Class::Read),
    (MODELS, Class::Read),
    (BACKENDS, Class::Read),
    (TIER, Class::Read),
    (OPENAI_MODELS, Class::Read),
    (OPENAI_MODEL, Class::Read),
    (FEDERATION_STATUS, Class::Read),
    (FEDERATION_PEERS, Class::Read),
    (PROPOSALS, Class::Read),
    (PROPOSAL, Class::Read),
    (STORE, Class::Read),
    (STORE_PULL_FIND, Class::Read),
    (PREFERENCES, Class::Read),
    (PREFERENCES_OF, Class::Read),
    (PREFERENCES_APPLY, Class::Read),
    (GENERATE, Class::Act),
    (OPENAI_CHAT, Class::Act),
    (OPENAI_COMPLETIONS, Class::Act),
    (OPENAI_EMBEDDINGS, Class::Act),
    (PREFERENCES_OBSERVE, Class::Act),
    (PREFERENCES_FORGET, Class::Act),
    (PATTERNS, Class::Act),
    (PATTERNS_BATCH, Class::Act),
    (PATTERNS_RECALL, Class::Act),
    (PATTERNS_STATS, Class::Act),
    (PATTERN, Class::Act),
    (PATTERN_FEEDBACK, Class::Act),
    (PATTERN_PIN, Class::Act),
    (PATTERN_UNPIN, Class::Act),
    (WS, Class::Act),
    (IDENTITY_GENERATE, Class::Privileged),
    (IDENTITY_ACTIVATE, Class::Privileged),
    (IDENTITY_ROTATE, Class::Privileged),
    (IDENTITY_SIGN, Class::Privileged),
    (ENVELOPE_CREATE, Class::Privileged),
    (PROPOSE, Class::Privileged),
    (PATTERN_ELEVATE, Class::Privileged),
    (PATTERN_FEEDBACK_SIGN, Class::Privileged),
    (CONSTITUTION_RELOAD, Class::Privileged),
    (ENVELOPES, Class::Privileged),
    (STORE_PULL, Class::Privileged),
    (STORE_PULL_CANCEL, Class::Privileged),
    (STORE_VERIFY, Class::Privileged),
    (STORE_REMOVE, Class::Privileged),
    (TOKEN_ROTATE, Class::Privileged),
    (ACTOR_STOP, Class::Privileged),
];

/// The whole HTTP interface.
pub fn router(app: App) -> Router {
    // A socket's calls go to all other routes, by the same layers.
    let callable = layered(&app, operations(&app));
    let sockets = of_class(&app, Class::Act, ws::routes(WS, callable, &app.limits.sockets))
        .route_layer(from_fn(ws::bearer));
    layered(&app, operations(&app).merge(sockets))
}

fn operations(app: &App) -> Router<App> {
    Router::new()
        .merge(of_class(app, Class::Open, open()))
        .merge(of_class(app, Class::Read, read()))
        .merge(of_class(app, Class::Act, act()))
        .merge(of_class(app, Class::Privileged, privileged()))
}

/// What goes around every route.
fn layered(app: &App, routes: Router<App>) -> Router {
    routes
        .fallback(async || ApiError::from_status(StatusCode::NOT_FOUND))
        .layer(from_fn_with_state(app.clone(), observe))
        .with_state(app.clone())
}

fn open() -> Router<App> {
    Router::new()
        .route(HEALTH, get(health::health))
        .route(LIVE, get(health::live))
        .route(READY, get(health::ready))
}

fn read() -> Router<App> {
    Router::new()
        .route(STATUS, get(status::status))
        .route(METRICS, get(metrics::metrics))
        .route(OPENAPI, get(docs::document))
        .route(DOCS, get(docs::page))
        .route(ACTORS, get(actors::list))
        .route(CONSTITUTION, get(constitution::show))
        .route(CONSTITUTION_CHECK, post(constitution::check))
        .route(IDENTITY, get(identity::list))
        .route(IDENTITY_VERIFY, post(identity::verify))
        .route(ENVELOPE_VERIFY, post(envelope::verify))
        .route(ENVELOPE, get(envelope::find))
        .route(GATES_CHECK, post(gates::check))
        .route(MODELS, get(inference::models))
        .route(BACKENDS, get(backends::list))
        .route(TIER, post(inference::tier))
        .route(OPENAI_MODELS, get(openai::models::list))
        .route(OPENAI_MODEL, get(openai::models::find))
        .route(FEDERATION_STATUS, get(federation::status))
        .route(FEDERATION_PEERS, get(federation::peers))
        .route(PROPOSALS, get(federation::list))
        .route(PROPOSAL, get(federation::find))
        .route(STORE, get(models::list))
        .route(STORE_PULL_FIND, get(models::find))
        .route(PREFERENCES, get(preferences::list))
        .route(PREFERENCES_OF, get(preferences::find))
        .route(PREFERENCES_APPLY, post(preferences::apply))
}

fn act() -> Router<App> {
    Router::new()
        .route(GENERATE, post(inference::generate))
        .route(OPENAI_CHAT, post(openai::chat))
        .route(OPENAI_COMPLETIONS, post(openai::completions))
        .route(OPENAI_EMBEDDINGS, post(openai::embeddings::create))
        .route(PREFERENCES_OBSERVE, post(preferences::observe))
        .route(PREFERENCES_FORGET, post(preferences::forget))
        .route(PATTERNS, get(patterns::list).post(patterns::learn))
        .route(PATTERNS_BATCH, post(patterns::batch))
        .route(PATTERNS_RECALL, post(patterns::recall))
        .route(PATTERNS_STATS, get(patterns::stats))
        .route(PATTERN, get(patterns::find).delete(patterns::forget))
        .route(PATTERN_FEEDBACK, post(patterns::feedback))
        .route(PATTERN_PIN, post(patterns::pin))
        .route(PATTERN_UNPIN, post(patterns::unpin))
}

fn privileged() -> Router<App> {
    Router::new()
        .route(IDENTITY_GENERATE, post(identity::generate))
        .route(IDENTITY_ACTIVATE, post(identity::activate))
        .route(IDENTITY_ROTATE, post(identity::rotate))
        .route(IDENTITY_SIGN, post(identity::sign))
        .route(ENVELOPE_CREATE, post(envelope::create))
        .route(PROPOSE, post(federation::propose))
        .route(PATTERN_ELEVATE, post(patterns::elevate))
        .route(PATTERN_FEEDBACK_SIGN, post(patterns::sign))
        .route(CONSTITUTION_RELOAD, post(constitution::reload))
        .route(ENVELOPES, get(envelope::log))
        .route(STORE_PULL, post(models::pull))
        .route(STORE_PULL_CANCEL, post(models::cancel))
        .route(STORE_VERIFY, post(models::verify))
        .route(STORE_REMOVE, post(models::remove))
        .route(TOKEN_ROTATE, post(token::rotate))
        .route(ACTOR_STOP, post(actors::stop))
}

/// Puts the class before every route of `routes`.
fn of_class(app: &App, class: Class, routes: Router<App>) -> Router<App> {
    routes.route_layer(from_fn_with_state((app.clone(), class), enter))
}

/// Lets the caller in if it may, and gives up on the request when its time is over.
async fn enter(
    State((app, class)): State<(App, Class)>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let peer = request.extensions().get::<Peer>().copied();
    app.authorize(class, peer, request.headers())?;
    let answering = async {
        let wait = match class {
            Class::Open | Class::Read => app.limits.request_timeout,
            Class::Privileged => {
                audit::record(&app, audit::call_of(&request)).await?;
                app.limits.request_timeout
            }
            Class::Act => {
                // The time to generate is not for the caller to spend on sending the prompt.
                request = body::arrived(request, &app.limits).await?;
                app.limits.generate_timeout
            }
        };
        let deadline = Deadline::after(wait);
        request.extensions_mut().insert(Until(deadline));
        let answer = tokio::time::timeout_at(deadline.instant() + LAST_WORD, next.run(request));
        answer.await.map_err(|_| ApiError::timeout())
    };
    tokio::select! {
        answer = answering => answer,
        () = app.readiness.given_up() => {
            Err(ApiError::unavailable("SHUTTING_DOWN", "the node is going down"))
        }
    }
}
