//! The HTTP actor under a supervisor: it dies, and its callers do not notice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bizra_omega::actors::http::{self, Http};
use bizra_omega::domain::restart::{Outcome, Strategy};
use bizra_omega::http::limits::Limits;
use bizra_omega::http::server::{Readiness, Server};
use bizra_omega::messages::addr::Deadline;
use bizra_omega::messages::supervisor::{ActorState, Fault, SupervisorMsg};
use bizra_omega::supervisor::{ChildSpec, Root};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::support::{SECOND, permanent, root, settings};

/// Long enough for a loaded machine; nothing that works takes it.
const PATIENCE: Duration = Duration::from_secs(30);

async fn supervised(app: Router) -> (Root, SocketAddr, Server) {
    let settings = settings(Strategy::OneForOne);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { stop_grace: SECOND, ..Limits::default() };
    let metrics = settings.metrics.clone();
    let server = Server::new(vec![listener], app, limits, metrics, Readiness::default());
    let kept = server.clone();
    let make = move || Http { server: kept.clone() };
    let (spec, _) =
        ChildSpec::actor(http::NAME, permanent(), 5 * SECOND, 64, &settings.metrics, make);
    (root(&settings, vec![spec]).await, address, server)
}

async fn drill(root: &Root, fault: Fault) {
    let ask = |reply| SupervisorMsg::Drill { name: http::NAME.to_owned(), fault, reply };
    root.addr().call(Deadline::after(PATIENCE), ask).await.unwrap().unwrap();
}

/// Where the actor stands, and its incarnation.
async fn stands(root: &Root) -> Option<(ActorState, u64)> {
    let ask = |reply| SupervisorMsg::Tree { reply };
    let tree = root.addr().call(Deadline::after(PATIENCE), ask).await.unwrap();
    tree.first().map(|actor| (actor.state, actor.incarnation))
}

/// One request over a connection of its own.
async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await?;
    Ok(said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_is_refused_while_the_actor_dies_in_every_way() {
    let app = Router::new().route("/hello", get(async || "hello"));
    let (root, address, _server) = supervised(app).await;
    let (is_over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (until_over, count) = (is_over.clone(), served.clone());
    let client = tokio::spawn(async move {
        while !until_over.load(Ordering::Relaxed) {
            let said = tokio::time::timeout(PATIENCE, ask(address)).await.expect("in time");
            let said = said.expect("every connection is served");
            assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("hello"), "{said}");
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    for (round, fault) in (1..).zip(Fault::ALL) {
        drill(&root, fault).await;
        crate::support::until(|| served.load(Ordering::Relaxed) > 5 * round).await;
        let restarted = async {
            while !stands(&root).await.is_some_and(|(state, incarnation)| {
                state == ActorState::Running && incarnation > round
            }) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, restarted).await.expect("it restarts");
    }
    is_over.store(true, Ordering::Relaxed);
    client.await.unwrap();
    assert!(ask(address).await.unwrap().ends_with("hello"));
    assert_eq!(root.shutdown(10 * SECOND).await.outcome, Outcome::Shutdown);
}

#[tokio::test]
async fn a_request_in_flight_is_answered_although_the_actor_is_killed() {
    let (began, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (began.clone(), release.clone());
    let handler = get(async move || {
        tell.notify_one();
        wait.notified().await;
        "hello"
    });
    let (root, address, _server) = supervised(Router::new().route("/hello", handler)).await;
    let asked = tokio::spawn(ask(address));
    began.notified().await;
    drill(&root, Fault::Kill).await;
    release.notify_one();
    assert!(asked.await.unwrap().unwrap().ends_with("hello"));
}

#[tokio::test]
async fn a_shutdown_answers_what_is_in_flight() {
    let (began, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (began.clone(), release.clone());
    let handler = get(async move || {
        tell.notify_one();
        wait.notified().await;
        "hello"
    });
    let (root, address, _server) = supervised(Router::new().route("/hello", handler)).await;
    let asked = tokio::spawn(ask(address));
    began.notified().await;
    let (exit, ()) = tokio::join!(root.shutdown(10 * SECOND), async {
        tokio::task::yield_now().await;
        release.notify_one();
    });
    assert_eq!(exit.outcome, Outcome::Shutdown);
    assert!(asked.await.unwrap().unwrap().ends_with("hello"));
}
