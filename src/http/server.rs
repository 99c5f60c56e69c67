//! The accept loop: connections in, each under its limits, and an orderly end.
//!
//! `axum::serve` has no timeouts at all, so the loop is our own over hyper's HTTP/1 connection.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::ServiceExt;

use crate::http::bare::{Spoken, Watched, refusal};
use crate::http::error::ApiError;
use crate::http::guarded::Guarded;
use crate::http::limits::Limits;
use crate::http::patient::{InFlight, Pace, Patient, Waits};
use crate::http::peers::{Admission, Peers};
use crate::http::request_id::RequestId;
use crate::http::tls::Tls;
use crate::metrics::{Metrics, Raised};

/// Pause after an accept that failed for want of something, mostly open files: trying at once
/// again would only burn the CPU that could free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How long a draining server still waits for the first request of a connection: whoever has just
/// connected has it on the way.
const NEWCOMER_WAIT: Duration = Duration::from_millis(250);

/// Time to tell those whose requests were given up, before their connections are cut.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The most that hyper buffers of a connection. Larger than any head we accept, so that a head
/// over our own limit still gets a proper answer.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The place of a connection among those that may be open; lent to each of its requests.
#[derive(Clone, Debug)]
pub(super) struct Place(Arc<Held>);

#[derive(Debug)]
struct Held {
    pace: Arc<Pace>,
    steps: watch::Receiver<u64>,
    connections: TaskTracker,
    _open: Raised,
    _admission: Admission,
}

/// A connection that is no longer one of requests. Until this is dropped it counts as open, a drain
/// waits for it, and its peer may be silent for as long as it likes.
#[derive(Debug)]
pub(super) struct Kept {
    /// Changes once when the connection is to end, and once more when it is cut.
    pub(super) steps: watch::Receiver<u64>,
    _pace: InFlight,
    _token: TaskTrackerToken,
    _place: Place,
}

impl Place {
    /// Keeps the connection for something else.
    pub(super) fn keep(self) -> Kept {
        Kept {
            steps: self.0.steps.clone(),
            _pace: self.0.pace.begin(),
            _token: self.0.connections.token(),
            _place: self,
        }
    }
}

/// Whether the node still wants new work. Turned off before the listener stops, so that whoever
/// sends work elsewhere can.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Phase>);

#[derive(Debug, Default)]
struct Phase {
    /// Once the node has been told to stop, for good.
    is_leaving: AtomicBool,
    /// While the server stops.
    is_draining: AtomicBool,
    /// Told when requests in flight have no more time.
    is_over: watch::Sender<bool>,
}

impl Readiness {
    /// From now on `/readyz` says no, also if the server begins to accept anew.
    pub fn leave(&self) {
        self.0.is_leaving.store(true, Ordering::Release);
    }

    /// From now on `/readyz` says no, until the server accepts again.
    pub fn drain(&self) {
        self.0.is_draining.store(true, Ordering::Release);
    }

    /// Requests in flight are to be given up, with an answer that says so.
    fn give_up(&self) {
        self.0.is_over.send_replace(true);
    }

    /// Resolves when requests in flight are to be given up.
    pub async fn given_up(&self) {
        let mut is_over = self.0.is_over.subscribe();
        // The sender is ours, so the channel does not close.
        let _ = is_over.wait_for(|is_over| *is_over).await;
    }

    /// From now on `/readyz` says yes again, if the actors are up and the node is to stay.
    pub fn resume(&self) {
        self.0.is_draining.store(false, Ordering::Release);
        self.0.is_over.send_replace(false);
    }

    /// Whether the node is on its way down.
    pub fn is_draining(&self) -> bool {
        self.0.is_leaving.load(Ordering::Acquire) || self.0.is_draining.load(Ordering::Acquire)
    }
}

/// The server: listeners that were bound once, and the connections made through them. It outlives
/// every incarnation of the HTTP actor; cheap to clone.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    listeners: Vec<TcpListener>,
    app: Router,
    limits: Limits,
    metrics: Metrics,
    readiness: Readiness,
    permits: Arc<Semaphore>,
    peers: Peers,
    tls: OnceLock<Tls>,
    connections: TaskTracker,
    /// Each change is one step towards the end of the connections that see it: the first asks
    /// them to finish, the second cuts them.
    steps: watch::Sender<u64>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("listeners", &self.0.listeners).finish_non_exhaustive()
    }
}

/// The accept loops of one incarnation. Dropping it stops them; connections live on.
#[derive(Debug)]
pub struct Accepting(JoinSet<()>);

impl Accepting {
    /// Whether an accept loop ended, which none does by itself.
    pub fn is_over(&mut self) -> bool {
        self.0.try_join_next().is_some()
    }
}

impl Server {
    /// A server that accepts nothing yet.
    pub fn new(
        listeners: Vec<TcpListener>,
        app: Router,
        limits: Limits,
        metrics: Metrics,
        readiness: Readiness,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(limits.connections_max));
        let peers = Peers::new(limits.connections_per_client_max);
        let (steps, _) = watch::channel(0);
        let connections = TaskTracker::new();
        Self(Arc::new(Inner {
            listeners,
            app,
            limits,
            metrics,
            readiness,
            permits,
            peers,
            tls: OnceLock::new(),
            connections,
            steps,
        }))
    }

    /// Speaks TLS from now on. Call it before the first [`Server::accept`], once.
    pub fn use_tls(&self, tls: Tls) {
        // A second one is not taken.
        let _ = self.0.tls.set(tls);
    }

    /// Starts to accept. Call it inside the runtime.
    pub fn accept(&self) -> Accepting {
        self.0.connections.reopen();
        self.0.readiness.resume();
        let mut loops = JoinSet::new();
        for index in 0..self.0.listeners.len() {
            let inner = Arc::clone(&self.0);
            loops.spawn(async move { inner.accept(&inner.listeners[index]).await });
        }
        Accepting(loops)
    }

    /// Stops accepting, lets requests in flight end within the grace, and closes every connection.
    /// Tells how many had to be cut.
    pub async fn drain(&self, accepting: &mut Accepting) -> usize {
        self.0.readiness.drain();
        accepting.0.shutdown().await;
        self.0.connections.close();
        self.0.steps.send_modify(|steps| *steps += 1);
        let ended = timeout(self.0.limits.stop_grace, self.0.connections.wait());
        if ended.await.is_ok() {
            return 0;
        }
        self.0.readiness.give_up();
        let told = timeout(LAST_WORDS, self.0.connections.wait());
        if told.await.is_ok() {
            return 0;
        }
        let cut = self.0.connections.len();
        self.0.steps.send_modify(|steps| *steps += 1);
        self.0.connections.wait().await;
        cut
    }
}

impl Inner {
    async fn accept(&self, listener: &TcpListener) {
        // The semaphore is never closed.
        while let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, peer)) => self.open(stream, Peer(peer), permit),
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn open(&self, stream: TcpStream, peer: Peer, permit: OwnedSemaphorePermit) {
        let Some(admission) = self.peers.admit(peer.0.ip(), permit) else {
            return self.turn_away(&stream, peer);
        };
        let place = Place(Arc::new(Held {
            pace: Arc::default(),
            steps: self.steps.subscribe(),
            connections: self.connections.clone(),
            _open: self.metrics.connection_opened(),
            _admission: admission,
        }));
        // An answer is written whole, so waiting for more to send along gains nothing.
        let _ = stream.set_nodelay(true);
        let (app, limits, metrics) = (self.app.clone(), &self.limits, self.metrics.clone());
        let serving: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>> = match self.tls.get()
        {
            None => Box::pin(serve(stream, peer, app, limits, metrics, place)),
            Some(tls) => {
                let greeting = timeout(limits.header_timeout, tls.acceptor().accept(stream));
                let limits = limits.clone();
                Box::pin(async move {
                    match greeting.await {
                        Ok(Ok(stream)) => serve(stream, peer, app, &limits, metrics, place).await,
                        Ok(Err(error)) => {
                            tracing::debug!(peer = %peer.0, %error, "no TLS");
                            Ok(())
                        }
                        Err(_) => Ok(()),
                    }
                })
            }
        };
        self.connections.spawn(async move {
            if let Err(error) = serving.await {
                tracing::debug!(peer = %peer.0, error = %Chain(&error), "connection ended");
            }
        });
    }

    /// Closes a connection that its client may not have. What can be said without waiting is said.
    fn turn_away(&self, stream: &TcpStream, peer: Peer) {
        tracing::debug!(peer = %peer.0, "this client has as many connections as it may");
        let error = "this client has as many connections as it may";
        let error = ApiError::unavailable("TOO_MANY_CONNECTIONS", error);
        if self.tls.get().is_none() {
            let _ = stream.try_write(&refusal(&error, &RequestId::of(&HeaderMap::new())));
        }
        self.metrics.connection_refused();
    }
}

/// Whether accepting failed because of the one connection: its peer went away before its turn.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: Peer,
    app: Router,
    limits: &Limits,
    metrics: Metrics,
    place: Place,
) -> impl Future<Output = hyper::Result<()>> + Send + 'static + use<S> {
    let waits = Waits {
        header: limits.header_timeout,
        idle: limits.idle_timeout,
        write: limits.write_timeout,
    };
    let pace = Arc::clone(&place.0.pace);
    let newcomer = Arc::clone(&pace);
    let mut steps = place.0.steps.clone();
    let service = {
        let pace = Arc::clone(&pace);
        hyper::service::service_fn(move |request| {
            let in_flight = pace.begin();
            let answer = app.clone().oneshot(with_peer(request, peer, &place));
            async move {
                let response = answer.await.unwrap_or_else(|never: Infallible| match never {});
                Ok::<_, Infallible>(response.map(|body| Guarded::new(body, in_flight)))
            }
        })
    };
    async move {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            // A backstop; also what makes hyper look at an idle connection, where `Patient` acts.
            .header_read_timeout(waits.header + waits.idle)
            .max_buf_size(BUFFER_BYTES_MAX);
        let patient = Patient::new(stream, Arc::clone(&pace), waits);
        let io = TokioIo::new(Spoken::new(patient, pace, metrics));
        let mut connection = pin!(builder.serve_connection(io, service).with_upgrades());
        tokio::select! {
            ended = connection.as_mut() => return ended,
            _ = steps.changed() => {}
        }
        if !newcomer.has_begun() {
            tokio::select! {
                ended = connection.as_mut() => return ended,
                () = tokio::time::sleep(NEWCOMER_WAIT) => {}
            }
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            ended = connection => ended,
            _ = steps.changed() => Ok(()),
        }
    }
}

fn with_peer(request: Request<Incoming>, peer: Peer, place: &Place) -> Request<Body> {
    let pace = Arc::clone(&place.0.pace);
    let mut request = request.map(|body| Body::new(Watched::new(body, pace)));
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(place.clone());
    request
}

/// An error and its causes, on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_accept_loop_that_ended_is_noticed() {
        let mut loops = JoinSet::new();
        loops.spawn(std::future::pending());
        let mut accepting = Accepting(loops);
        assert!(!accepting.is_over());
        let ended = accepting.0.spawn(async {});
        while !ended.is_finished() {
            tokio::task::yield_now().await;
        }
        assert!(accepting.is_over());
    }
}
