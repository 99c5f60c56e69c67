//! Who may ask a backend now, who waits, and who is told at once that waiting is useless.
//!
//! A backend works on so many requests at a time. Further ones wait, in turns: one request of each
//! client, so that a client with many holds up nobody but itself. Who cannot be served before its
//! deadline, by the time that requests took lately, is shed at once and told how long it would have
//! been.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::rate::Client;

/// What one backend takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Requests at once.
    pub parallel: usize,
    /// Requests that wait.
    pub waiting_max: usize,
}

/// Names a request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What becomes of a request at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It begins now; [`Admission::leave`] must follow.
    Begins,
    /// It waits. If there was no room, the request with the other ticket has to go for it.
    Waits {
        /// Its own ticket.
        ticket: Ticket,
        /// Of the client with the most waiting, the one that came last.
        instead_of: Option<Ticket>,
    },
    /// There is no use in waiting, or no room.
    Shed,
}

/// What a service time counts against those before it.
const WEIGHT: f64 = 0.2;

/// The door of one backend.
#[derive(Debug)]
pub struct Admission {
    rules: Rules,
    running: usize,
    waiting: usize,
    /// Clients with waiting requests, in the order of their turns. There are never more of them
    /// than waiting requests.
    turns: VecDeque<(Client, VecDeque<Ticket>)>,
    /// Seconds that a request took lately, once any has ended.
    service_s: Option<f64>,
    tickets: u64,
}

impl Admission {
    /// A door that nobody has passed.
    pub fn new(rules: Rules) -> Self {
        let turns = VecDeque::new();
        Self { rules, running: 0, waiting: 0, turns, service_s: None, tickets: 0 }
    }

    /// A request of `client`, whose deadline is `remaining` from now, comes to the door.
    pub fn enter(&mut self, client: Client, remaining: Duration) -> Entry {
        if self.running < self.rules.parallel && self.waiting == 0 {
            self.running += 1;
            return Entry::Begins;
        }
        if self.is_useless(client, remaining) {
            return Entry::Shed;
        }
        let mut instead_of = None;
        if self.waiting >= self.rules.waiting_max {
            instead_of = self.displace_for(client);
            if instead_of.is_none() {
                return Entry::Shed;
            }
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        match self.turns.iter_mut().find(|(known, _)| *known == client) {
            Some((_, tickets)) => tickets.push_back(ticket),
            None => self.turns.push_back((client, VecDeque::from([ticket]))),
        }
        self.waiting += 1;
        Entry::Waits { ticket, instead_of }
    }

    /// A request that had begun has ended. It counts as a measurement if it was answered, after
    /// `took`. Returns whose turn it is now: that request begins.
    pub fn leave(&mut self, took: Option<Duration>) -> Option<Ticket> {
        if let Some(took) = took {
            let took_s = took.as_secs_f64();
            let mean = |before: f64| WEIGHT.mul_add(took_s - before, before);
            self.service_s = Some(self.service_s.map_or(took_s, mean));
        }
        self.running = self.running.saturating_sub(1);
        let (client, mut tickets) = self.turns.pop_front()?;
        let next = tickets.pop_front();
        if !tickets.is_empty() {
            self.turns.push_back((client, tickets));
        }
        if next.is_some() {
            self.waiting -= 1;
            self.running += 1;
        }
        next
    }

    /// A request does not wait any longer. Tells whether it did.
    pub fn give_up(&mut self, ticket: Ticket) -> bool {
        let holds = |tickets: &VecDeque<Ticket>| tickets.iter().position(|it| *it == ticket);
        let mut turns = self.turns.iter_mut().enumerate();
        let found = turns.find_map(|(turn, (_, tickets))| Some((turn, holds(tickets)?, tickets)));
        let Some((turn, at, tickets)) = found else { return false };
        tickets.remove(at);
        if tickets.is_empty() {
            self.turns.remove(turn);
        }
        self.waiting -= 1;
        true
    }

    /// How long a request of `client` would wait, as far as anybody knows.
    pub fn wait(&self, client: Client) -> Option<Duration> {
        if self.running < self.rules.parallel && self.waiting == 0 {
            return Some(Duration::ZERO);
        }
        let service_s = self.service_s?;
        #[expect(clippy::cast_precision_loss, reason = "queues are far shorter than 2^52")]
        let rounds = (self.ahead(client) + 1) as f64 / self.rules.parallel.max(1) as f64;
        Duration::try_from_secs_f64(rounds * service_s).ok()
    }

    /// Requests that are worked on.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How much there is to do against what can be done at once: 1 when a further request would
    /// have to wait.
    pub fn load(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "queues are far shorter than 2^52")]
        let load = (self.running + self.waiting) as f64 / self.rules.parallel.max(1) as f64;
        load
    }

    /// Requests that are served before a further one of `client`.
    fn ahead(&self, client: Client) -> usize {
        let own = self.turns.iter().position(|(known, _)| *known == client);
        let mine = own.map_or(0, |at| self.turns[at].1.len());
        let before = own.unwrap_or(self.turns.len());
        let others = self.turns.iter().enumerate().filter(|(at, _)| Some(*at) != own);
        let ahead = others.map(|(at, (_, tickets))| {
            let turns = if at < before { mine + 1 } else { mine };
            tickets.len().min(turns)
        });
        mine + ahead.sum::<usize>()
    }

    /// Whether it could not be served in time.
    fn is_useless(&self, client: Client, remaining: Duration) -> bool {
        let Some(service) = self.service_s else { return false };
        let wait = self.wait(client).unwrap_or(Duration::MAX);
        wait.as_secs_f64() + service > remaining.as_secs_f64()
    }

    /// Takes a place from the client with the most waiting, if it would still have at least as many
    /// as `client` then has.
    fn displace_for(&mut self, client: Client) -> Option<Ticket> {
        let mine = self.turns.iter().find(|(known, _)| *known == client);
        let mine = mine.map_or(0, |(_, tickets)| tickets.len());
        let greediest = self.turns.iter_mut().max_by_key(|(_, tickets)| tickets.len());
        let (_, tickets) = greediest.filter(|(_, tickets)| tickets.len() > mine + 1)?;
        self.waiting -= 1;
        tickets.pop_back()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const SECOND: Duration = Duration::from_secs(1);

    fn client(number: u32) -> Client {
        Client::V4(number)
    }

    fn door(parallel: usize, waiting_max: usize) -> Admission {
        Admission::new(Rules { parallel, waiting_max })
    }

    fn waits(entry: Entry) -> Ticket {
        match entry {
            Entry::Waits { ticket, instead_of: None } => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn so_many_begin_and_the_rest_waits_up_to_its_limit() {
        let mut door = door(2, 2);
        assert_eq!(door.enter(client(1), LONG), Entry::Begins);
        assert_eq!(door.enter(client(1), LONG), Entry::Begins);
        let first = waits(door.enter(client(1), LONG));
        let second = waits(door.enter(client(1), LONG));
        assert_eq!(door.enter(client(1), LONG), Entry::Shed);
        assert_eq!((door.running(), door.waiting(), door.load()), (2, 2, 2.0));
        assert_eq!(door.leave(None), Some(first));
        assert!(door.give_up(second));
        assert!(!door.give_up(second) && !door.give_up(first));
        assert_eq!((door.leave(None), door.leave(None)), (None, None));
        assert_eq!((door.running(), door.waiting()), (0, 0));
        assert_eq!(door.enter(client(1), LONG), Entry::Begins);
    }

    #[test]
    fn clients_take_turns_and_keep_their_own_order() {
        let mut door = door(1, 100);
        assert_eq!(door.enter(client(9), LONG), Entry::Begins);
        let greedy: Vec<_> = (0..50).map(|_| waits(door.enter(client(1), LONG))).collect();
        let modest: Vec<_> = (0..2).map(|_| waits(door.enter(client(2), LONG))).collect();
        let served: Vec<_> = (0..5).filter_map(|_| door.leave(None)).collect();
        assert_eq!(served, [greedy[0], modest[0], greedy[1], modest[1], greedy[2]]);
    }

    #[test]
    fn a_full_queue_makes_room_at_the_cost_of_who_has_the_most() {
        let mut door = door(1, 4);
        door.enter(client(9), LONG);
        let greedy: Vec<_> = (0..4).map(|_| waits(door.enter(client(1), LONG))).collect();
        assert_eq!(door.enter(client(1), LONG), Entry::Shed, "not for the greedy one itself");
        for displaced in [greedy[3], greedy[2]] {
            let Entry::Waits { instead_of, .. } = door.enter(client(2), LONG) else {
                panic!("there is room for another client")
            };
            assert_eq!(instead_of, Some(displaced), "what came last goes first");
        }
        assert_eq!(door.enter(client(2), LONG), Entry::Shed, "now they have the same");
        assert_eq!(door.waiting(), 4);
        let Entry::Waits { instead_of: Some(_), .. } = door.enter(client(3), LONG) else {
            panic!("a third one has none")
        };
        assert_eq!(door.waiting(), 4);
    }

    #[test]
    fn who_cannot_be_served_in_time_is_shed_at_once() {
        let mut door = door(2, 100);
        assert_eq!(door.wait(client(1)), Some(Duration::ZERO));
        for _ in 0..2 {
            door.enter(client(1), LONG);
        }
        assert_eq!(door.wait(client(1)), None, "nothing was measured yet");
        waits(door.enter(client(1), SECOND));
        door.leave(Some(4 * SECOND));
        // Two run, none waits: one of two slots is free after two seconds, and then it takes four.
        assert_eq!(door.wait(client(1)), Some(2 * SECOND));
        assert_eq!(door.enter(client(1), 5 * SECOND), Entry::Shed);
        waits(door.enter(client(1), 6 * SECOND));
        // Behind that one it is two seconds more, but not for another client's first.
        assert_eq!(door.wait(client(1)), Some(4 * SECOND));
        waits(door.enter(client(1), LONG));
        assert_eq!(door.wait(client(1)), Some(6 * SECOND));
        assert_eq!(door.wait(client(2)), Some(4 * SECOND));
    }

    #[test]
    fn what_was_not_answered_is_no_measurement_and_the_latest_counts_more() {
        let mut door = door(1, 10);
        let mut serve = |took| {
            assert_eq!(door.enter(client(1), LONG), Entry::Begins);
            door.leave(took);
            door.service_s
        };
        assert_eq!(serve(None), None);
        assert_eq!(serve(Some(10 * SECOND)), Some(10.0));
        assert_eq!(serve(None), Some(10.0));
        assert_eq!(serve(Some(20 * SECOND)), Some(12.0));
        for _ in 0..100 {
            serve(Some(SECOND));
        }
        assert!(serve(None).unwrap() < 1.01);
    }

    #[derive(Clone, Debug)]
    enum Act {
        Enter(u32),
        Leave,
        GiveUp(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (0..5_u32).prop_map(Act::Enter),
            2 => Just(Act::Leave),
            1 => (0..20_usize).prop_map(Act::GiveUp),
        ]
    }

    proptest! {
        /// Nobody is lost, nobody is served twice, and nothing is beyond its limit.
        #[test]
        fn every_request_has_one_end(
            acts in proptest::collection::vec(act(), 0..300),
            parallel in 1..4_usize,
            waiting_max in 1..10_usize,
        ) {
            let mut door = door(parallel, waiting_max);
            let mut queue: Vec<(Ticket, u32)> = Vec::new();
            let mut running = 0;
            for act in acts {
                match act {
                    Act::Enter(who) => match door.enter(client(who), LONG) {
                        Entry::Begins => running += 1,
                        Entry::Waits { ticket, instead_of } => {
                            if let Some(displaced) = instead_of {
                                let before = queue.len();
                                queue.retain(|(ticket, _)| *ticket != displaced);
                                prop_assert_eq!(queue.len(), before - 1);
                            }
                            queue.push((ticket, who));
                        }
                        Entry::Shed => prop_assert_eq!(queue.len(), waiting_max),
                    },
                    Act::Leave if running > 0 => {
                        running -= 1;
                        let next = door.leave(None);
                        prop_assert_eq!(next.is_some(), !queue.is_empty());
                        if let Some(next) = next {
                            running += 1;
                            let at = queue.iter().position(|(ticket, _)| *ticket == next);
                            let (_, who) = queue.remove(at.unwrap());
                            let older = queue.iter().any(|it| it.1 == who && it.0 < next);
                            prop_assert!(!older, "one client is served in its order");
                        }
                    }
                    Act::GiveUp(which) if which < queue.len() => {
                        let (ticket, _) = queue.remove(which);
                        prop_assert!(door.give_up(ticket));
                    }
                    Act::Leave | Act::GiveUp(_) => {}
                }
                prop_assert_eq!((door.running(), door.waiting()), (running, queue.len()));
                prop_assert!(running <= parallel && queue.len() <= waiting_max);
                prop_assert!(door.turns.len() <= door.waiting());
                prop_assert!(queue.is_empty() || running == parallel, "nobody waits in vain");
            }
        }

        /// The wait that is told is what comes, if nobody else comes.
        #[test]
        fn as_many_are_served_before_as_was_said(
            before in proptest::collection::vec(0..5_u32, 0..30),
            served in 0..20_usize,
            who in 0..6_u32,
        ) {
            let mut door = door(1, 100);
            door.enter(client(9), LONG);
            for who in before {
                door.enter(client(who), LONG);
            }
            for _ in 0..served.min(door.waiting()) {
                door.leave(None);
            }
            let ahead = door.ahead(client(who));
            let mine = waits(door.enter(client(who), LONG));
            let found = (0..).find(|_| door.leave(None) == Some(mine));
            prop_assert_eq!(found, Some(ahead));
        }
    }
}
