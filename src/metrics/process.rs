//! Metrics that are read when they are asked for: of the process, the store and the log.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::{Metrics, gauge_of};

/// Labels: which build this is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    os: &'static str,
    arch: &'static str,
}

/// What the system tells of this process. What it does not tell is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessFigures {
    /// Time on the processors, in user and system mode.
    pub cpu_seconds: Option<f64>,
    /// Memory that is in use and not swapped out.
    pub resident_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// The most there may be.
    pub max_fds: Option<u64>,
    /// When it started, in seconds since the Unix epoch.
    pub start_time_seconds: Option<f64>,
}

/// What is known of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreFigures {
    /// Bytes that are free on its disk.
    pub free_bytes: Option<u64>,
    /// Below which no envelope is made.
    pub free_bytes_min: u64,
    /// Whether writes are accepted.
    pub is_writable: bool,
    /// Operations that wait for the writer.
    pub waiting: u64,
}

type Source<T> = OnceLock<Box<dyn Fn() -> T + Send + Sync>>;

/// Where figures come from; empty until the node says where.
#[derive(Default)]
pub(super) struct Sources {
    process: Source<ProcessFigures>,
    store: Source<Option<StoreFigures>>,
    log_lines_dropped: Source<u64>,
    backends: Source<()>,
}

impl Sources {
    /// Has everybody set their gauges whose values change by themselves.
    pub(super) fn refresh(&self) {
        if let Some(set) = self.backends.get() {
            set();
        }
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// Registers them, and says which build this is.
pub(super) fn register(registry: &mut Registry) -> Arc<Sources> {
    let labels = BuildLabels {
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
    };
    registry.register("build", "Which build of the node this is", Info::new(labels));
    let sources = Arc::new(Sources::default());
    registry.register_collector(Box::new(AtScrape(Arc::clone(&sources))));
    sources
}

impl Metrics {
    /// Where the figures of the process come from. The first to say so is heard.
    pub fn watch_process(&self, read: impl Fn() -> ProcessFigures + Send + Sync + 'static) {
        let _ = self.0.sources.process.set(Box::new(read));
    }

    /// Where the figures of the store come from; `None` when it is gone.
    pub fn watch_store(&self, read: impl Fn() -> Option<StoreFigures> + Send + Sync + 'static) {
        let _ = self.0.sources.store.set(Box::new(read));
    }

    /// Sets the gauges of backends, some of which change as time goes by. The first to say so is heard.
    pub(crate) fn watch_backends(&self, set: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.sources.backends.set(Box::new(set));
    }

    /// Where the number of log lines comes from that were dropped.
    pub fn watch_log(&self, dropped: impl Fn() -> u64 + Send + Sync + 'static) {
        let _ = self.0.sources.log_lines_dropped.set(Box::new(dropped));
    }
}

#[derive(Debug)]
struct AtScrape(Arc<Sources>);

impl Collector for AtScrape {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut page = Page(encoder);
        if let Some(read) = self.0.process.get() {
            page.process(&read())?;
        }
        if let Some(figures) = self.0.store.get().and_then(|read| read()) {
            page.store(&figures)?;
        }
        if let Some(dropped) = self.0.log_lines_dropped.get() {
            let help = "Log lines dropped because standard error was not read in time";
            page.metric("log_lines_dropped", help, None, &ConstCounter::new(dropped()))?;
        }
        Ok(())
    }
}

struct Page<'p>(DescriptorEncoder<'p>);

impl Page<'_> {
    fn process(&mut self, figures: &ProcessFigures) -> Result<(), fmt::Error> {
        let seconds = Some(Unit::Seconds);
        if let Some(cpu) = figures.cpu_seconds {
            let help = "Time on the processors, in user and system mode";
            self.metric("process_cpu", help, seconds.as_ref(), &ConstCounter::new(cpu))?;
        }
        if let Some(bytes) = figures.resident_bytes {
            let help = "Memory in use that is not swapped out";
            self.gauge("process_resident_memory", help, Some(&Unit::Bytes), bytes)?;
        }
        if let Some(open) = figures.open_fds {
            self.gauge("process_open_fds", "Open file descriptors", None, open)?;
        }
        if let Some(max) = figures.max_fds {
            self.gauge("process_max_fds", "The most file descriptors there may be", None, max)?;
        }
        if let Some(start) = figures.start_time_seconds {
            let help = "When the process started, since the Unix epoch";
            self.metric("process_start_time", help, seconds.as_ref(), &ConstGauge::new(start))?;
        }
        Ok(())
    }

    fn store(&mut self, figures: &StoreFigures) -> Result<(), fmt::Error> {
        let bytes = Some(Unit::Bytes);
        if let Some(free) = figures.free_bytes {
            self.gauge("store_free", "Free on the disk of the store", bytes.as_ref(), free)?;
        }
        let help = "Below this much free disk no envelope is made";
        self.gauge("store_free_min", help, bytes.as_ref(), figures.free_bytes_min)?;
        let help = "1 unless a write failed and the store only reads since";
        self.gauge("store_writable", help, None, figures.is_writable.into())?;
        self.gauge("store_waiting", "Operations waiting for the writer", None, figures.waiting)
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: u64,
    ) -> Result<(), fmt::Error> {
        self.metric(name, help, unit, &ConstGauge::new(gauge_of(value)))
    }

    fn metric(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        metric: &impl EncodeMetric,
    ) -> Result<(), fmt::Error> {
        // As those that are registered end.
        let help = format!("{help}.");
        let encoder = self.0.encode_descriptor(name, &help, unit, metric.metric_type())?;
        metric.encode(encoder)
    }
}
