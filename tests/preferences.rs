//! Preferences as their actor learns them: whichever way it dies, what it acknowledged is there.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bizra_omega::actors::preferences::{self, Preferences};
use bizra_omega::adapters::store::Store;
use bizra_omega::domain::preference::{
    Bounds, Choice, Effect, Full, Kind, Observed, PAGE_MAX, Profile, Rendered, Selection, Slot,
    Subject, SubjectPage,
};
use bizra_omega::domain::restart::Strategy;
use bizra_omega::messages::addr::{Addr, CallError, Reply};
use bizra_omega::messages::preferences::{PreferencesError, PreferencesMsg};
use bizra_omega::messages::supervisor::{Fault, SupervisorMsg};
use bizra_omega::supervisor::{ChildSpec, Root, Settings};
use support::{SECOND, drill, permanent, root, settings, soon};

struct Node {
    root: Root,
    settings: Settings,
    preferences: Addr<PreferencesMsg>,
    store: Arc<Store>,
    dir: tempfile::TempDir,
}

async fn node_in(dir: tempfile::TempDir, bounds: Bounds, free_bytes_min: u64) -> Node {
    let mut settings = settings(Strategy::OneForOne);
    // Dies all the time, and is wanted back at once.
    settings.rules.backoff.longest = settings.rules.backoff.first;
    let store = Arc::new(Store::open(dir.path(), free_bytes_min).unwrap());
    let (now_ms, meter) = (|| 1_767_225_600_123, settings.metrics.preferences());
    let learner = Preferences { store: Arc::clone(&store), bounds, now_ms, meter };
    let make = move || learner.clone();
    let (child, preferences) =
        ChildSpec::actor(preferences::NAME, permanent(), SECOND, 256, &settings.metrics, make);
    let root = root(&settings, vec![child]).await;
    Node { root, settings, preferences, store, dir }
}

async fn node() -> Node {
    node_in(tempfile::tempdir().unwrap(), Bounds::default(), 0).await
}

fn subject(name: &str) -> Subject {
    Subject::parse(name).unwrap()
}

fn choice(kind: Kind, value: &str) -> Choice {
    Choice::parse(Slot::parse(kind, None).unwrap(), value).unwrap()
}

impl Node {
    async fn say<T: Send>(&self, ask: impl Fn(Reply<T>) -> PreferencesMsg + Send) -> T {
        self.preferences.call(soon(), ask).await.unwrap()
    }

    async fn try_observe(
        &self,
        name: &str,
        choice: &Choice,
    ) -> Result<Result<Observed, PreferencesError>, CallError> {
        let (subject, choice) = (subject(name), choice.clone());
        let ask = |reply| PreferencesMsg::Observe {
            subject: subject.clone(),
            choice: choice.clone(),
            reply,
        };
        self.preferences.call(soon(), ask).await
    }

    async fn observe(&self, name: &str, choice: &Choice) -> Result<Observed, PreferencesError> {
        self.try_observe(name, choice).await.unwrap()
    }

    async fn find(&self, name: &str) -> Profile {
        self.say(|reply| PreferencesMsg::Find { subject: subject(name), reply }).await.unwrap()
    }

    async fn times_observed(&self, name: &str) -> u64 {
        self.find(name).await.entries().iter().map(|entry| entry.observations).sum()
    }

    async fn forget(&self, name: &str, selection: Selection) -> usize {
        let ask = |reply| PreferencesMsg::Forget {
            subject: subject(name),
            selection: selection.clone(),
            reply,
        };
        self.say(ask).await.unwrap()
    }

    async fn render(&self, name: &str) -> Rendered {
        self.say(|reply| PreferencesMsg::Render { subject: subject(name), reply }).await.unwrap()
    }

    fn metrics(&self) -> String {
        self.settings.metrics.encode().unwrap()
    }

    /// The directory, with nothing running on it.
    async fn stopped(self) -> tempfile::TempDir {
        self.root.shutdown(5 * SECOND).await;
        self.store.close();
        self.dir
    }
}

#[tokio::test]
async fn what_is_observed_is_learned_told_and_forgotten() {
    let node = node().await;
    let (formal, brief) = (choice(Kind::Style, "formal"), choice(Kind::Verbosity, "brief"));
    assert_eq!(node.render("ann").await, Rendered::default());
    for number in 1..=6 {
        let observed = node.observe("ann", &formal).await.unwrap();
        let expected = match number {
            1 => Effect::New,
            6 => Effect::Activated,
            _ => Effect::Confirmed,
        };
        assert_eq!((observed.effect, observed.entry.observations), (expected, number));
        assert_eq!(observed.entry.observed_at(), "2026-01-01T00:00:00.123Z");
    }
    node.observe("ann", &brief).await.unwrap();
    node.observe("bob", &brief).await.unwrap();
    let rendered = node.render("ann").await;
    assert!(rendered.text.unwrap().ends_with("\n- Write in a formal tone."));
    assert_eq!(node.render("bob").await.text, None, "subjects are apart");

    let page = SubjectPage { limit: PAGE_MAX + 1, after: None };
    let ask = |reply| PreferencesMsg::List { page: page.clone(), reply };
    let listed = node.say(ask).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|(name, known)| (name.as_str(), known.len())).collect();
    assert_eq!(listed, [("ann", 2), ("bob", 1)]);

    assert_eq!(node.forget("ann", Selection::Kind(Kind::Style)).await, 1);
    assert_eq!(node.render("ann").await.text, None);
    assert_eq!(node.forget("ann", Selection::All).await, 1);
    assert!(node.find("ann").await.is_empty());
    let metrics = node.metrics();
    for line in [
        "preference_subjects 1",
        "preference_observations_total{effect=\"new\"} 3",
        "preference_observations_total{effect=\"confirmed\"} 4",
        "preference_observations_total{effect=\"activated\"} 1",
        "preference_forgotten_total 2",
        "preference_told_total 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn what_is_acknowledged_is_there_whichever_way_the_actor_dies_and_after_a_restart() {
    let node = node().await;
    let formal = choice(Kind::Style, "formal");
    for (number, fault) in
        (1..).zip([Fault::Panic, Fault::Error, Fault::Stop, Fault::Kill, Fault::Panic, Fault::Kill])
    {
        node.observe("ann", &formal).await.unwrap();
        drill(&node.root, preferences::NAME, fault).await;
        assert_eq!(node.times_observed("ann").await, number, "{fault:?}");
    }
    let told = node.render("ann").await;
    assert_eq!(told.told.len(), 1);
    let node = node_in(node.stopped().await, Bounds::default(), 0).await;
    assert!(node.metrics().contains("preference_subjects 1"), "{}", node.metrics());
    assert_eq!(node.render("ann").await, told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_observation_is_lost_or_counted_twice_while_the_actor_is_killed_all_the_time() {
    let node = Arc::new(node().await);
    let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let observers: Vec<_> = (0..4)
        .map(|number| {
            let (node, stop, taken) = (Arc::clone(&node), Arc::clone(&stop), Arc::clone(&taken));
            let name = ["ann", "bob"][number % 2];
            tokio::spawn(async move {
                let formal = choice(Kind::Style, "formal");
                let (mut acknowledged, mut unknown) = (0, 0);
                while !stop.load(Ordering::SeqCst) {
                    match node.try_observe(name, &formal).await {
                        Ok(observed) => {
                            observed.unwrap();
                            acknowledged += 1;
                            taken.fetch_add(1, Ordering::SeqCst);
                        }
                        // It died over this one, which may or may not have been taken in.
                        Err(CallError::Down { .. }) => unknown += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                (name, acknowledged, unknown)
            })
        })
        .collect();
    let mut drills = 0;
    // However slow the disk is.
    while drills < 30 || taken.load(Ordering::SeqCst) < 60 {
        let (name, fault) =
            (preferences::NAME.to_owned(), [Fault::Kill, Fault::Panic, Fault::Error][drills % 3]);
        let ask = |reply| SupervisorMsg::Drill { name: name.clone(), fault, reply };
        // Refused while the actor is between two incarnations.
        if node.root.addr().call(soon(), ask).await.unwrap().is_ok() {
            drills += 1;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut expected = std::collections::BTreeMap::<_, (u64, u64)>::new();
    for observer in observers {
        let (name, acknowledged, unknown) = observer.await.unwrap();
        let entry = expected.entry(name).or_default();
        *entry = (entry.0 + acknowledged, entry.1 + unknown);
    }
    for (name, (acknowledged, unknown)) in expected {
        let kept = node.times_observed(name).await;
        let range = acknowledged..=acknowledged + unknown;
        assert!(acknowledged > 0 && range.contains(&kept), "{name}: {kept} of {range:?}");
    }
}

#[tokio::test]
async fn what_has_no_room_is_refused_and_says_so() {
    let bounds = Bounds { subjects_max: 1, notes_max: 1 };
    let node = node_in(tempfile::tempdir().unwrap(), bounds, 0).await;
    let note =
        |name: &str| Choice::parse(Slot::parse(Kind::Custom, Some(name)).unwrap(), "vim").unwrap();
    node.observe("ann", &note("editor")).await.unwrap();
    let refused = node.observe("ann", &note("shell")).await.unwrap_err();
    assert_eq!(refused, PreferencesError::Full(Full::Notes { max: 1 }));
    let refused = node.observe("bob", &note("editor")).await.unwrap_err();
    assert_eq!(refused, PreferencesError::Full(Full::Subjects { max: 1 }));
    assert!(node.metrics().contains("preference_observations_total{effect=\"full\"} 2"));

    let full = node_in(tempfile::tempdir().unwrap(), Bounds::default(), u64::MAX).await;
    let refused = full.observe("ann", &note("editor")).await.unwrap_err();
    assert!(matches!(refused, PreferencesError::DiskFull(_)), "{refused:?}");
}
