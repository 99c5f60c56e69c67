//! A node inside another program, reached by its addresses alone.

mod live;

use bizra_omega::domain::identity::{Claim, KeyUse, Signed};
use bizra_omega::messages::addr::{CallError, Deadline};
use bizra_omega::messages::identity::IdentityMsg;
use bizra_omega::messages::roster::Roster;
use bizra_omega::messages::supervisor::SupervisorMsg;
use bizra_omega::node::{self, StartError};
use bytes::Bytes;

fn wait() -> Deadline {
    Deadline::after(30 * live::SECOND)
}

async fn sign(roster: &Roster, message: &'static [u8]) -> Result<Signed, CallError> {
    let ask = |reply| IdentityMsg::Sign {
        key_use: KeyUse::Message,
        messages: vec![Bytes::from_static(message)],
        reply,
    };
    let signed = roster.identity.call(wait(), ask).await?;
    Ok(signed.unwrap().pop().unwrap())
}

async fn actors(roster: &Roster) -> Vec<String> {
    let tree = roster.supervisor.call(wait(), |reply| SupervisorMsg::Tree { reply }).await.unwrap();
    tree.iter().map(|info| info.name.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_reaches_an_embedded_node() {
    let dir = tempfile::tempdir().unwrap();
    // This port is taken, and that of a node that was killed; neither matters.
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    std::fs::write(dir.path().join("address"), "{}").unwrap();
    let mut config = live::config(dir.path());
    config.http.port = taken.local_addr().unwrap().port();
    config.http.host = "0.0.0.0".parse().unwrap();
    let embedded = node::start_embedded(config).await.unwrap();
    for file in ["address", "api-token"] {
        assert!(!dir.path().join(file).exists(), "{file}");
    }
    let names = actors(embedded.roster()).await;
    assert!(names.contains(&"identity".to_owned()) && !names.contains(&"http".to_owned()));
    let signed = sign(embedded.roster(), b"hello").await.unwrap();
    let claim = Claim {
        message: Bytes::from_static(b"hello"),
        signature: signed.signature.to_hex(),
        public_key: signed.public_key.to_hex(),
    };
    let ask = |reply| IdentityMsg::Verify { claims: vec![claim.clone()], reply };
    assert_eq!(embedded.roster().identity.call(wait(), ask).await.unwrap(), [Ok(())]);
    embedded.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_has_one_node_and_keeps_its_keys() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let first = node::start_embedded(live::config(dirs[0].path())).await.unwrap();
    let other = node::start_embedded(live::config(dirs[1].path())).await.unwrap();
    let key = sign(first.roster(), b"a").await.unwrap().public_key;
    assert_ne!(sign(other.roster(), b"a").await.unwrap().public_key, key);
    let second = node::start_embedded(live::config(dirs[0].path())).await;
    assert!(matches!(second, Err(StartError::Lock(_))), "{second:?}");

    // Whoever holds an address of a node that has stopped is told so at once.
    let roster = first.roster().clone();
    first.shutdown().await;
    drop(first);
    let down = sign(&roster, b"a").await.unwrap_err();
    assert!(matches!(down, CallError::Down { .. }), "{down}");
    assert!(sign(other.roster(), b"a").await.is_ok());

    let again = node::start_embedded(live::config(dirs[0].path())).await.unwrap();
    assert_eq!(sign(again.roster(), b"a").await.unwrap().public_key, key);
    again.shutdown().await;
    other.shutdown().await;
}
