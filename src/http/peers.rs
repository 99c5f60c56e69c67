//! How many connections one client holds, so that none holds them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use crate::domain::rate::Client;

/// The open connections by client. There are never more clients than connections.
#[derive(Clone, Debug)]
pub(super) struct Peers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    open: Mutex<HashMap<Client, usize>>,
    each_max: usize,
}

/// The place of one open connection, among all and among those of its client.
#[derive(Debug)]
pub(super) struct Admission {
    _permit: OwnedSemaphorePermit,
    held: Option<(Peers, Client)>,
}

impl Peers {
    pub(super) fn new(each_max: usize) -> Self {
        Self(Arc::new(Inner { open: Mutex::default(), each_max }))
    }

    /// Counts a connection from `address` until the admission is dropped; `None` if its client
    /// holds as many as it may. This machine is not counted: there are the owner's own programs, and
    /// proxies that speak for many.
    pub(super) fn admit(&self, address: IpAddr, permit: OwnedSemaphorePermit) -> Option<Admission> {
        if address.to_canonical().is_loopback() {
            return Some(Admission { _permit: permit, held: None });
        }
        let client = Client::from(address);
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(client).or_default();
        // One that is refused is here already, so its entry stays.
        if *count >= self.0.each_max {
            return None;
        }
        *count += 1;
        Some(Admission { _permit: permit, held: Some((self.clone(), client)) })
    }

    fn leave(&self, client: Client) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&client);
            }
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some((peers, client)) = self.held.take() {
            peers.leave(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn a_client_holds_so_many_and_others_are_not_concerned() {
        let places = Arc::new(Semaphore::new(100));
        let peers = Peers::new(2);
        let admit = |address: &str| {
            let permit = Arc::clone(&places).try_acquire_owned().unwrap();
            peers.admit(address.parse().unwrap(), permit)
        };
        let first = admit("192.0.2.1").unwrap();
        let _second = admit("192.0.2.1").unwrap();
        assert!(admit("192.0.2.1").is_none());
        assert!(admit("::ffff:192.0.2.1").is_none());
        let _other = admit("192.0.2.2").unwrap();
        drop(first);
        let _third = admit("192.0.2.1").unwrap();
        let network: Vec<_> = (1..=2).map(|it| admit(&format!("2001:db8::{it}"))).collect();
        assert!(network.iter().all(Option::is_some));
        assert!(admit("2001:db8::3").is_none());
        let local: Vec<_> = (0..9).map(|_| admit("127.0.0.1")).collect();
        assert!(local.iter().all(Option::is_some));
        assert_eq!(places.available_permits(), 100 - 5 - 9);
        drop((network, local));
        assert_eq!(peers.0.open.lock().unwrap().len(), 2);
    }
}
