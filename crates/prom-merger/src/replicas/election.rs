//! Which replica of a source speaks: no clock, no I/O.

/// Elects one of a bounded number of replicas, for as long as it is heard from.
#[derive(Debug, Clone)]
pub(crate) struct Election {
    freshness_ms: i64,
    maximum: usize,
    members: Vec<Member>,
    elected: Option<usize>,
    term: u64,
}

#[derive(Debug, Clone)]
struct Member {
    name: String,
    /// On a clock of the caller's that never goes back.
    last_heard_ms: i64,
}

/// What a replica is at the moment that it is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// What it sends is delivered.
    Elected,
    /// Another one is elected, and fresh: what it sends is spare.
    Spare,
    /// The elected one has been silent for longer than the freshness limit, or there is none: this one takes over.
    Successor,
}

/// A replica that may be heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admission {
    /// Its number, below the maximum.
    pub(crate) member: usize,
    /// The replica that had the number before and is forgotten.
    pub(crate) replaced: Option<String>,
    /// It had no number before.
    pub(crate) is_new: bool,
}

/// All replicas that may be are alive already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{maximum} replicas are alive already, which is the maximum: {}", known.join(", "))]
pub(crate) struct TooManyReplicas {
    maximum: usize,
    known: Vec<String>,
}

impl Election {
    /// `maximum` is at least 1.
    pub(crate) fn new(freshness_ms: i64, maximum: usize) -> Self {
        Self { freshness_ms, maximum, members: Vec::new(), elected: None, term: 0 }
    }

    /// Gives a replica its number. Where there are as many as may be, it takes the place of the one that has been silent
    /// for longest, if that is not elected and was silent for longer than the freshness limit.
    pub(crate) fn admit(&mut self, name: &str, now_ms: i64) -> Result<Admission, TooManyReplicas> {
        if let Some(member) = self.members.iter().position(|member| member.name == name) {
            return Ok(Admission { member, replaced: None, is_new: false });
        }
        let newcomer = Member { name: name.to_owned(), last_heard_ms: now_ms };
        if self.members.len() < self.maximum {
            self.members.push(newcomer);
            return Ok(Admission { member: self.members.len() - 1, replaced: None, is_new: true });
        }
        let silent = self.members.iter_mut().enumerate();
        let longest = silent
            .filter(|(index, _)| Some(*index) != self.elected)
            .filter(|(_, member)| now_ms.saturating_sub(member.last_heard_ms) > self.freshness_ms)
            .min_by_key(|(_, member)| member.last_heard_ms);
        match longest {
            Some((member, place)) => {
                let replaced = Some(std::mem::replace(place, newcomer).name);
                Ok(Admission { member, replaced, is_new: true })
            }
            None => {
                let known = self.members.iter().map(|member| member.name.clone()).collect();
                Err(TooManyReplicas { maximum: self.maximum, known })
            }
        }
    }

    /// Notes that a replica has sent samples, and tells what it is now. A [`Role::Successor`] is only elected by
    /// [`elect`](Self::elect). `None` if another one has its number meanwhile.
    pub(crate) fn hear(&mut self, member: usize, name: &str, now_ms: i64) -> Option<Role> {
        let heard = self.members.get_mut(member).filter(|member| member.name == name)?;
        heard.last_heard_ms = heard.last_heard_ms.max(now_ms);
        Some(match self.elected {
            Some(elected) if elected == member => Role::Elected,
            Some(_) if self.is_elected_fresh(now_ms) => Role::Spare,
            _ => Role::Successor,
        })
    }

    pub(crate) fn is_elected_fresh(&self, now_ms: i64) -> bool {
        self.elected.is_some_and(|elected| self.is_fresh(elected, now_ms))
    }

    /// Whether a replica was heard within the freshness limit.
    pub(crate) fn is_fresh(&self, member: usize, now_ms: i64) -> bool {
        let member = self.members.get(member);
        member.is_some_and(|member| now_ms.saturating_sub(member.last_heard_ms) <= self.freshness_ms)
    }

    /// Begins a term.
    pub(crate) fn elect(&mut self, member: usize) {
        self.elected = Some(member);
        self.term += 1;
    }

    /// Goes on after a restart: the replica that was elected was last heard at `last_heard_ms`, which may be before the clock
    /// began.
    pub(crate) fn resume(&mut self, name: &str, term: u64, last_heard_ms: i64) {
        self.term = term;
        if let Ok(Admission { member, .. }) = self.admit(name, last_heard_ms) {
            self.elected = Some(member);
        }
    }

    pub(crate) fn elected(&self) -> Option<usize> {
        self.elected
    }

    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    /// The names of all replicas by number.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: i64 = 30;

    fn seconds(seconds: i64) -> i64 {
        seconds * 1_000
    }

    /// Who is heard when, and what it is then; a successor is elected.
    #[track_caller]
    fn check(heard: &[(i64, &str, Role)]) {
        let mut election = Election::new(seconds(LIMIT), 2);
        for (time, name, expected) in heard {
            let now = seconds(*time);
            let member = election.admit(name, now).unwrap().member;
            let role = election.hear(member, name, now).unwrap();
            assert_eq!(role, *expected, "{name} at {time}");
            if role == Role::Successor {
                election.elect(member);
            }
        }
    }

    #[test]
    fn one_is_elected_for_as_long_as_it_is_heard() {
        use Role::{Elected, Spare, Successor};
        check(&[
            (0, "a", Successor),
            (1, "b", Spare),
            (30, "b", Spare),
            // One second more than the limit.
            (31, "b", Successor),
            (32, "a", Spare),
            (61, "a", Spare),
            (61, "b", Elected),
            (90, "a", Spare),
            (92, "a", Successor),
        ]);
        // Nobody else is there: silence ends nothing.
        check(&[(0, "a", Successor), (500, "a", Elected)]);
    }

    #[test]
    fn the_number_of_replicas_is_bounded_and_only_the_silent_are_replaced() {
        let mut election = Election::new(seconds(LIMIT), 3);
        for (name, time) in [("a", 0), ("b", 10), ("c", 20)] {
            let member = election.admit(name, seconds(time)).unwrap().member;
            if election.hear(member, name, seconds(time)) == Some(Role::Successor) {
                election.elect(member);
            }
        }
        let refused = election.admit("d", seconds(30)).unwrap_err();
        assert_eq!(refused.to_string(), "3 replicas are alive already, which is the maximum: a, b, c");
        // The one that is elected stays, though it is silent for longest.
        let admitted = election.admit("d", seconds(41)).unwrap();
        assert_eq!(admitted, Admission { member: 1, replaced: Some("b".to_owned()), is_new: true });
        assert!(!election.admit("d", seconds(41)).unwrap().is_new);
        assert_eq!(election.hear(1, "b", seconds(41)), None);
        assert_eq!(election.hear(1, "d", seconds(41)), Some(Role::Successor));
        assert_eq!(election.names().collect::<Vec<_>>(), ["a", "d", "c"]);
    }

    #[test]
    fn after_a_restart_the_elected_one_has_what_is_left_of_its_time() {
        let mut election = Election::new(seconds(LIMIT), 2);
        election.resume("a", 7, seconds(-10));
        let b = election.admit("b", seconds(0)).unwrap().member;
        assert_eq!(election.hear(b, "b", seconds(20)), Some(Role::Spare));
        assert_eq!(election.hear(b, "b", seconds(21)), Some(Role::Successor));
        election.elect(b);
        assert_eq!(election.term(), 8);
    }
}
