//! Wakes event loops: one thread per node that has the GIL for a moment, so that the threads of the
//! node never wait for it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::process;

/// Futures that are woken with one turn of the GIL, at most: some hundred microseconds.
const BATCH_MAX: usize = 256;

/// The way to the thread. There are never more orders than calls on their way.
#[derive(Clone)]
pub(super) struct Loops(Sender<Order>);

enum Order {
    Wake { event_loop: Py<PyAny>, future: Py<PyAny> },
    Quit,
}

/// A future of an event loop that waits for an answer.
pub(super) struct Sleeper {
    order: Order,
    loops: Sender<Order>,
}

impl Sleeper {
    /// Has it woken. Neither waits nor needs the GIL.
    pub(super) fn wake(self) {
        // Nobody is there any more only when the node is gone, and then everybody was told.
        let _ = self.loops.send(self.order);
    }
}

impl Loops {
    /// Starts the thread. `wake` is called in an event loop with a list of its futures.
    pub(super) fn start(wake: Py<PyAny>) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (sender, orders) = channel();
        let thread = std::thread::Builder::new().name("bizra-loops".to_owned());
        let thread = thread.spawn(move || run(&orders, &wake))?;
        Ok((Self(sender), thread))
    }

    pub(super) fn sleeper(&self, event_loop: Py<PyAny>, future: Py<PyAny>) -> Sleeper {
        Sleeper { order: Order::Wake { event_loop, future }, loops: self.0.clone() }
    }

    /// Ends the thread, after what was ordered before.
    pub(super) fn quit(&self) {
        let _ = self.0.send(Order::Quit);
    }
}

fn run(orders: &Receiver<Order>, wake: &Py<PyAny>) {
    let mut is_over = false;
    while !is_over {
        let Ok(first) = orders.recv() else { return };
        let mut batch = Vec::new();
        for order in std::iter::once(first).chain(orders.try_iter()) {
            match order {
                Order::Wake { event_loop, future } => batch.push((event_loop, future)),
                Order::Quit => is_over = true,
            }
            if is_over || batch.len() >= BATCH_MAX {
                break;
            }
        }
        if process::is_exiting() {
            return;
        }
        // None: the interpreter is on its way down, and so is every event loop.
        let _ = Python::try_attach(|py| deliver(py, wake, batch));
    }
}

/// Hands the futures to their event loops, in their order.
fn deliver(py: Python<'_>, wake: &Py<PyAny>, mut batch: Vec<(Py<PyAny>, Py<PyAny>)>) {
    while let Some((event_loop, _)) = batch.first() {
        let event_loop = event_loop.clone_ref(py);
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|(other, _)| other.is(&event_loop));
        batch = elsewhere;
        let futures = PyList::new(py, here.into_iter().map(|(_, future)| future));
        let told = futures.and_then(|futures| {
            event_loop.call_method1(py, "call_soon_threadsafe", (wake.clone_ref(py), futures))
        });
        match told {
            // A loop that was closed has nobody who waits.
            Err(error) if !error.is_instance_of::<PyRuntimeError>(py) => {
                error.write_unraisable(py, Some(event_loop.bind(py)));
            }
            Ok(_) | Err(_) => {}
        }
    }
}
