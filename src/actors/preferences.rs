//! Learns how people like to be answered, and says it to models. The rules are in
//! `domain::preference`; what is known is in the store, which takes in one observation after another, so
//! an incarnation has no state and a restart loses nothing.

use std::sync::Arc;

use crate::actor::{Actor, Failure, Turn};
use crate::adapters::store::{Store, StoreError};
use crate::clock;
use crate::config;
use crate::domain::preference::render::render;
use crate::domain::preference::{
    Bounds, Choice, Effect, Observed, PAGE_MAX, Profile, Rendered, Selection, Subject,
};
use crate::messages::preferences::{PreferencesError, PreferencesMsg};
use crate::metrics::{Metrics, PreferenceMeter};

/// The actor's name.
pub const NAME: &str = "preferences";

/// The preferences actor.
#[derive(Clone, Debug)]
pub struct Preferences {
    /// Keeps what is known; shared by all incarnations.
    pub store: Arc<Store>,
    /// How much is kept.
    pub bounds: Bounds,
    /// The wall clock, in milliseconds since the Unix epoch: [`crate::clock::now_ms`] outside tests.
    pub now_ms: fn() -> i64,
    /// Counts what is learned and told.
    pub meter: PreferenceMeter,
}

impl Preferences {
    /// As the configuration asks for.
    pub fn from_config(
        config: &config::Preferences,
        store: &Arc<Store>,
        metrics: &Metrics,
    ) -> Self {
        let bounds = Bounds { subjects_max: config.subjects_max, notes_max: config.custom_max };
        let (store, meter) = (Arc::clone(store), metrics.preferences());
        Self { store, bounds, now_ms: clock::now_ms, meter }
    }
}

impl Actor for Preferences {
    type Msg = PreferencesMsg;
    type State = ();

    async fn start(&self) -> Result<(), Failure> {
        let subjects = self.store.beside(Store::preference_subject_count).await?;
        self.meter.set_subjects(subjects);
        Ok(())
    }

    async fn handle(
        &self,
        message: PreferencesMsg,
        turn: Turn,
        (): &mut (),
    ) -> Result<(), Failure> {
        let preferences = self.clone();
        match message {
            PreferencesMsg::Observe { subject, choice, reply } => turn.spawn(async move {
                // Goes on when the caller leaves: what was begun is learned.
                reply.send(preferences.observe(subject, choice).await);
            }),
            PreferencesMsg::Forget { subject, selection, reply } => turn.spawn(async move {
                reply.send(preferences.forget(subject, selection).await);
            }),
            PreferencesMsg::Find { subject, reply } => turn.spawn(async move {
                reply.send(preferences.find(subject).await);
            }),
            PreferencesMsg::List { mut page, reply } => turn.spawn(async move {
                page.limit = page.limit.min(PAGE_MAX);
                let listed =
                    preferences.store.beside(move |store| store.preference_subjects(&page));
                reply.send(listed.await.map_err(failed));
            }),
            PreferencesMsg::Render { subject, reply } => turn.spawn(async move {
                reply.send(preferences.render(subject).await);
            }),
        }
        Ok(())
    }
}

impl Preferences {
    async fn observe(
        &self,
        subject: Subject,
        choice: Choice,
    ) -> Result<Observed, PreferencesError> {
        let at_ms = (self.now_ms)();
        let taken = self.store.observe_preference(subject, choice, at_ms, self.bounds).await;
        let observed = match taken.map_err(failed)? {
            Ok(observed) => observed,
            Err(full) => {
                self.meter.observed("full");
                return Err(full.into());
            }
        };
        self.meter.observed(observed.effect.as_str());
        // A subject comes with its first value.
        if observed.effect == Effect::New {
            self.count().await;
        }
        Ok(observed)
    }

    async fn forget(
        &self,
        subject: Subject,
        selection: Selection,
    ) -> Result<usize, PreferencesError> {
        let count = self.store.forget_preferences(subject, selection).await.map_err(failed)?;
        self.meter.forgot(count);
        self.count().await;
        Ok(count)
    }

    async fn find(&self, subject: Subject) -> Result<Profile, PreferencesError> {
        self.store.beside(move |store| store.preferences(&subject)).await.map_err(failed)
    }

    async fn render(&self, subject: Subject) -> Result<Rendered, PreferencesError> {
        let rendered = render(&self.find(subject).await?);
        self.meter.told(rendered.told.len(), rendered.left_out);
        Ok(rendered)
    }

    /// A subject may have come or gone.
    async fn count(&self) {
        if let Ok(subjects) = self.store.beside(Store::preference_subject_count).await {
            self.meter.set_subjects(subjects);
        }
    }
}

fn failed(error: StoreError) -> PreferencesError {
    match error {
        StoreError::DiskFull { .. } => PreferencesError::DiskFull(error.to_string()),
        error => PreferencesError::Unavailable(error.to_string()),
    }
}
