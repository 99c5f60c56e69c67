//! A connection that waits for its peer only so long.
//!
//! hyper has one timer for the head of a request, which also runs while a connection is idle. Here
//! the two have limits of their own, and so has a peer that does not take its answer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long to wait for the peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// For the rest of a head.
    pub(super) header: Duration,
    /// For the first byte of the next request.
    pub(super) idle: Duration,
    /// For the peer to take more of an answer.
    pub(super) write: Duration,
}

/// Which requests of a connection are in flight: told by its service, read by its stream.
#[derive(Debug, Default)]
pub(super) struct Pace {
    begun: AtomicU64,
    ended: AtomicU64,
    /// Whether the peer may still be sending what nobody reads any more.
    is_unread: AtomicBool,
}

impl Pace {
    /// A request's head has been read; the request ends when the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.is_unread.store(false, Ordering::Release);
        self.begun.fetch_add(1, Ordering::AcqRel);
        InFlight(Arc::clone(self))
    }

    /// What the peer sends from now on is not read.
    pub(super) fn leave_unread(&self) {
        self.is_unread.store(true, Ordering::Release);
    }

    /// Whether something was left unread since the last head.
    pub(super) fn is_unread(&self) -> bool {
        self.is_unread.load(Ordering::Acquire)
    }

    /// Whether no request is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.begun.load(Ordering::Acquire) == self.ended.load(Ordering::Acquire)
    }

    /// Whether there has been a request.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire) > 0
    }
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Pace>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::AcqRel);
    }
}

/// A stream that fails with [`io::ErrorKind::TimedOut`] when its peer keeps it waiting.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    waits: Waits,
    pace: Arc<Pace>,
    /// Requests begun when last looked at.
    begun: u64,
    /// Whether a byte of the next head has come. True at first: a new connection has no reason to
    /// be silent.
    is_in_head: bool,
    reading: Timer,
    writing: Timer,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, pace: Arc<Pace>, waits: Waits) -> Self {
        Self {
            stream,
            waits,
            pace,
            begun: 0,
            is_in_head: true,
            reading: Timer::default(),
            writing: Timer::default(),
        }
    }

    /// What to wait for between requests; `None` while one is in flight, which has a deadline of
    /// its own.
    fn wait_for_head(&mut self) -> Option<Duration> {
        let begun = self.pace.begun.load(Ordering::Acquire);
        if begun != self.begun {
            self.begun = begun;
            self.is_in_head = false;
            self.reading.clear();
        }
        if begun != self.pace.ended.load(Ordering::Acquire) {
            self.reading.clear();
            return None;
        }
        Some(if self.is_in_head { self.waits.header } else { self.waits.idle })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let wait = self.wait_for_head();
        if read.is_pending() {
            return match wait {
                Some(wait) => self.reading.poll(cx, wait),
                None => Poll::Pending,
            };
        }
        if wait.is_some() && !self.is_in_head && buf.filled().len() > before {
            self.is_in_head = true;
            self.reading.clear();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> Patient<S> {
    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writing.clear();
            return written;
        }
        match self.writing.poll(cx, self.waits.write) {
            Poll::Ready(Err(late)) => Poll::Ready(Err(late)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch_write(cx, shut)
    }
}

/// A deadline that is set when the waiting begins and taken back when it ends.
#[derive(Debug, Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    is_set: bool,
}

impl Timer {
    /// Keeps the allocation for the next wait.
    fn clear(&mut self) {
        self.is_set = false;
    }

    /// Ready with an error when `wait` has passed since the first poll after [`Timer::clear`].
    fn poll(&mut self, cx: &mut Context<'_>, wait: Duration) -> Poll<io::Result<()>> {
        let until = Instant::now() + wait;
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                if !self.is_set {
                    sleep.as_mut().reset(until);
                }
                sleep
            }
            none => none.insert(Box::pin(tokio::time::sleep_until(until))),
        };
        self.is_set = true;
        sleep.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const WAITS: Waits = Waits {
        header: Duration::from_secs(5),
        idle: Duration::from_secs(20),
        write: Duration::from_secs(10),
    };

    async fn seconds_until_timeout(stream: &mut (impl AsyncRead + Unpin)) -> u64 {
        let started = Instant::now();
        loop {
            match stream.read(&mut [0; 64]).await {
                Ok(0) => panic!("the peer closed"),
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    return started.elapsed().as_secs();
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_has_the_time_of_a_head() {
        let (ours, _theirs) = duplex(64);
        let mut ours = Patient::new(ours, Arc::default(), WAITS);
        assert_eq!(seconds_until_timeout(&mut ours).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_gains_no_time() {
        let (ours, mut theirs) = duplex(64);
        let mut ours = Patient::new(ours, Arc::default(), WAITS);
        tokio::spawn(async move {
            while theirs.write_all(b"a").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        assert_eq!(seconds_until_timeout(&mut ours).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_peer_has_longer_but_not_once_it_begins_a_head() {
        let (ours, mut theirs) = duplex(64);
        let pace = Arc::new(Pace::default());
        let mut ours = Patient::new(ours, pace.clone(), WAITS);
        drop(pace.begin());
        assert_eq!(seconds_until_timeout(&mut ours).await, 20);

        drop(pace.begin());
        theirs.write_all(b"G").await.unwrap();
        assert_eq!(seconds_until_timeout(&mut ours).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_flight_is_not_hurried() {
        let (ours, _theirs) = duplex(64);
        let pace = Arc::new(Pace::default());
        let mut ours = Patient::new(ours, pace.clone(), WAITS);
        let in_flight = pace.begin();
        let wait = tokio::time::timeout(Duration::from_secs(3600), ours.read(&mut [0; 1])).await;
        assert!(wait.is_err());
        drop(in_flight);
        assert_eq!(seconds_until_timeout(&mut ours).await, 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_cut_off() {
        let (ours, _theirs) = duplex(4);
        let mut ours = Patient::new(ours, Arc::default(), WAITS);
        let started = Instant::now();
        let error = ours.write_all(b"more than fits").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), 10);
    }
}
