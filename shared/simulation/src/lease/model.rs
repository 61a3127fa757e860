//! A model of everything that happens between a push and its publication. Several contenders
//! compete for one cache and architecture. Their calls interleave in every way, their executions
//! die at every step, and their answers get lost. [`next`] decides what a contender does next, as
//! in the Lambdas.
//!
//! Assumptions: A call has ended before it is repeated (Step Functions waits longer than Lambda
//! lets a call run). A dead execution is started again only while another execution holds its
//! lease. Calls of a dead execution end within [`frontload_domain::lease::LAST_CALL_SECONDS`].

use frontload_domain::Debounce;
use frontload_domain::lease::{
    Acquire, Acquisition, Burst, Contender, LeaseView, NextAction, next,
};
use frontload_domain::step::Waited;

use super::explore::{Model, Move};
use super::item::{Item, contenders};

/// Maximum number of contenders.
const MOST: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Begins with a push.
    Push,
    /// Begins when all others are over.
    Reconcile,
    Rollback,
}

/// The manifest that a place publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Manifest {
    build: u8,
    digest: u8,
    token: u8,
    rollback: Option<u8>,
}

/// The position of a contender. Its next step is one AWS call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// Its execution has not begun.
    Absent,
    /// A claim or rollback begins: it reads the lease. The first time it also registers.
    LeaseView {
        first: bool,
        seen: Option<u8>,
    },
    /// It asks whether the holder's execution is over.
    Ask {
        first: bool,
        seen: Option<u8>,
        holder: u8,
        token: u8,
    },
    /// Between two calls: it waits for the holder's last calls to end.
    LastCalls {
        holder: u8,
        token: u8,
    },
    Take {
        first: bool,
        over: Option<u8>,
    },
    /// It reads the registry and the published manifest.
    Resolve {
        first: bool,
        token: u8,
    },
    /// There is nothing to build, so it releases the lease.
    Unchanged {
        first: bool,
    },
    /// Built. A call to publish begins: it checks the lease.
    CheckLease(Manifest),
    /// It looks for a publication with a later token.
    FindLater(Manifest),
    WriteHome(Manifest),
    /// The last write; then the labels move.
    WriteAway(Manifest),
    /// It releases the lease, in a separate call or at the end of a rollback.
    Release,
    /// Died before it completed a publication. It may be started again.
    Dead(Manifest),
    Gone,
}

impl At {
    /// Whether a call begins here, or none is in flight.
    fn is_between_calls(self, kind: Kind) -> bool {
        matches!(
            self,
            Self::Absent | Self::LeaseView { .. } | Self::LastCalls { .. } | Self::CheckLease(_)
        ) || (self == Self::Release && kind != Kind::Rollback)
            || self.is_gone()
    }

    fn is_gone(self) -> bool {
        matches!(self, Self::Gone | Self::Dead(_))
    }

    fn publishes(self) -> bool {
        matches!(self, Self::FindLater(_) | Self::WriteHome(_) | Self::WriteAway(_))
    }

    fn builds(self) -> bool {
        self.publishes()
            || matches!(self, Self::Resolve { .. } | Self::Unchanged { .. } | Self::CheckLease(_))
    }

    /// Returns where the call in flight began.
    fn call(self, kind: Kind) -> Self {
        match self {
            Self::Ask { first, seen, .. } => Self::LeaseView { first, seen },
            Self::Take { first, over } => Self::LeaseView { first, seen: over },
            Self::Resolve { first, .. } | Self::Unchanged { first } => {
                Self::LeaseView { first, seen: None }
            }
            _ if kind == Kind::Rollback => Self::LeaseView { first: false, seen: None },
            Self::FindLater(manifest) | Self::WriteHome(manifest) | Self::WriteAway(manifest) => {
                Self::CheckLease(manifest)
            }
            other => other,
        }
    }

    /// Returns where its death leaves it once no call is in flight.
    fn dead(self) -> Self {
        match self {
            Self::CheckLease(manifest)
            | Self::FindLater(manifest)
            | Self::WriteHome(manifest)
            | Self::WriteAway(manifest)
                if manifest.rollback.is_none() =>
            {
                Self::Dead(manifest)
            }
            _ => Self::Gone,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ModelContender {
    at: At,
    /// Whether its execution is over. One of its calls may still be in flight.
    over: bool,
    /// Whether its execution died or its build failed.
    failed: bool,
    /// The newest digest when it began.
    pushed: u8,
    /// The digest that the registry returned.
    resolved: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    item: Item,
    /// The newest digest.
    registry: u8,
    home: Manifest,
    away: Manifest,
    /// What the label `current` shows at home.
    current: Manifest,
    /// What the label `previous` shows at home.
    previous: Manifest,
    contenders: [ModelContender; MOST],
    failures_left: u8,
    wrong: Option<&'static str>,
}

/// Deliberate faults in the code. The exploration must find each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    TakesWithoutCondition,
    WaitsForNoLastCall,
    PublishesWithoutCheck,
    ResolvesBeforeTheLease,
    ForgetsToRelease,
    ReleasesWithoutCondition,
    TakesOverWithoutToken,
    SupersededByTheHolder,
}

struct Contest {
    kinds: Vec<Kind>,
    failures: u8,
    flaw: Flaw,
    contenders: Vec<Contender>,
}

impl Contest {
    fn new(kinds: &[Kind], failures: u8, flaw: Flaw) -> Self {
        Self { kinds: kinds.to_vec(), failures, flaw, contenders: contenders(5) }
    }

    fn acquire(&self, who: usize) -> Acquire {
        match self.kinds[who] {
            Kind::Rollback => Acquire::AsAnybody,
            Kind::Push | Kind::Reconcile => Acquire::AsNewest,
        }
    }

    /// Returns the decision of `next`. `full` is whether the burst has waited for its limit.
    fn decide(&self, item: Item, who: usize, (first, seen): Call, asked: Asked) -> NextAction {
        let state = item.state(&self.contenders);
        let view = LeaseView {
            state: &state,
            build: &self.contenders[who].build,
            seen_token: seen.map(u64::from),
            holder_is_over: asked.holder_is_over,
        };
        let debounce = match self.kinds[who] {
            Kind::Push => Debounce::default(),
            Kind::Reconcile | Kind::Rollback => Debounce::NONE,
        };
        let now = if asked.full { debounce.limit_seconds.into() } else { 0 };
        let waited = Waited(if first { 0 } else { debounce.quiet_seconds.into() });
        let burst = Burst { debounce: &debounce, waited, now };
        next(&view, (self.acquire(who) == Acquire::AsNewest).then_some(&burst))
    }

    /// Reads the lease and decides.
    fn read_lease(
        &self,
        state: &State,
        who: usize,
        call @ (first, seen): Call,
        full: bool,
    ) -> State {
        let mut to = *state;
        if first {
            to.item.register(number(who), 0);
        }
        let asked = Asked { holder_is_over: None, full };
        let mut next = self.decide(to.item, who, call, asked);
        if let (Flaw::SupersededByTheHolder, Some(holder)) = (self.flaw, to.item.holder)
            && usize::from(holder) != who
            && self.kinds[who] == Kind::Push
        {
            next = NextAction::Superseded(self.contenders[usize::from(holder)].clone());
        }
        if let NextAction::Superseded(by) = &next {
            let by = self.contenders.iter().position(|known| known == by).unwrap();
            to.check_superseded(who, by);
        }
        to.contenders[who].at = match next {
            NextAction::Superseded(_) => At::Gone,
            NextAction::Quiet(_) => At::LeaseView { first: false, seen: None },
            NextAction::Acquisition(Acquisition::Ours) => {
                At::Resolve { first, token: to.item.token }
            }
            NextAction::Acquisition(Acquisition::Take(over)) => At::take(first, over),
            NextAction::Acquisition(Acquisition::Ask(_)) => {
                At::Ask { first, seen, holder: to.item.holder.unwrap(), token: to.item.token }
            }
            NextAction::Acquisition(Acquisition::RetryLater(later)) => {
                unreachable!("{later:?} before asking")
            }
        };
        to
    }

    /// Handles the answer that the holder is over. While the holder runs, a contender can only look
    /// again. That equals staying at [`At::LeaseView`].
    fn handle_holder_end(&self, who: usize, call: Call, holder: u8, token: u8) -> At {
        let newest = Some(number(who));
        let item = Item { newest, waiting_since: Some(0), holder: Some(holder), token };
        let asked = Asked { holder_is_over: Some(true), full: true };
        match self.decide(item, who, call, asked) {
            NextAction::Acquisition(Acquisition::RetryLater(later))
                if later.seen_token.is_some() =>
            {
                At::LastCalls { holder, token }
            }
            NextAction::Acquisition(Acquisition::Take(over)) => At::take(call.0, over),
            other => unreachable!("{other:?}"),
        }
    }

    fn take(&self, to: &mut State, who: usize, first: bool, over: Option<u8>) -> At {
        let (me, acquire) = (number(who), self.acquire(who));
        let may = match self.flaw {
            Flaw::TakesWithoutCondition => true,
            Flaw::TakesOverWithoutToken if over.is_some() => true,
            _ => to.item.may_take(me, acquire, over),
        };
        if !may {
            return At::LeaseView { first: false, seen: None };
        }
        to.item.take(me, acquire);
        At::Resolve { first, token: to.item.token }
    }

    fn resolve(&self, to: &mut State, who: usize, first: bool, token: u8) -> At {
        let rollback = Some(number(who));
        if self.kinds[who] == Kind::Rollback {
            // A rollback that an earlier call began is published unchanged.
            let begun = to.home.rollback == rollback;
            let back = Manifest { token, rollback, ..to.previous };
            return At::FindLater(if begun { to.home } else { back });
        }
        let contender = &mut to.contenders[who];
        let early = contender.resolved.filter(|_| self.flaw == Flaw::ResolvesBeforeTheLease);
        let digest = early.unwrap_or(to.registry);
        contender.resolved = Some(digest);
        let unchanged = if to.home.digest == digest {
            to.home.build == to.away.build
        } else {
            to.home.rollback.is_some() && to.previous.digest == digest
        };
        if unchanged {
            return At::Unchanged { first };
        }
        At::CheckLease(Manifest { build: number(who), digest, token, rollback: None })
    }

    fn release(&self, to: &mut State, who: usize) -> At {
        match self.flaw {
            Flaw::ForgetsToRelease => {}
            Flaw::ReleasesWithoutCondition => to.item.holder = None,
            _ => drop(to.item.release(number(who))),
        }
        At::Gone
    }

    /// Begins its execution, after its push if it has one.
    fn begin(&self, to: &mut State, who: usize) -> At {
        to.registry += u8::from(self.kinds[who] == Kind::Push);
        to.contenders[who].pushed = to.registry;
        if self.flaw == Flaw::ResolvesBeforeTheLease {
            to.contenders[who].resolved = Some(to.registry);
        }
        At::LeaseView { first: self.kinds[who] != Kind::Rollback, seen: None }
    }

    /// Returns the states after a contender's next AWS call; none while it waits.
    fn steps(&self, state: &State, who: usize) -> Vec<State> {
        let mut to = *state;
        let at = match state.contenders[who].at {
            At::Gone | At::Dead(_) => return Vec::new(),
            At::Absent if !self.may_begin(state, who) => return Vec::new(),
            At::Absent => self.begin(&mut to, who),
            At::LeaseView { first, seen } => {
                let reads =
                    [false, true].map(|full| self.read_lease(state, who, (first, seen), full));
                return reads.to_vec();
            }
            At::Ask { holder, .. } if !state.is_over(holder) => return Vec::new(),
            At::Ask { first, seen, holder, token } => {
                self.handle_holder_end(who, (first, seen), holder, token)
            }
            At::LastCalls { holder, token } => {
                let ended = state.contenders[usize::from(holder)].at.is_gone();
                if !ended && self.flaw != Flaw::WaitsForNoLastCall {
                    return Vec::new();
                }
                At::LeaseView { first: false, seen: Some(token) }
            }
            At::Take { first, over } => self.take(&mut to, who, first, over),
            At::Resolve { first, token } => self.resolve(&mut to, who, first, token),
            At::CheckLease(manifest) => {
                let held = to.item.holder == Some(number(who)) && to.item.token == manifest.token;
                let passes = held || self.flaw == Flaw::PublishesWithoutCheck;
                if passes { At::FindLater(manifest) } else { At::Release }
            }
            At::FindLater(manifest) => {
                let later = to.home.token.max(to.away.token) > manifest.token;
                if later { At::Release } else { At::WriteHome(manifest) }
            }
            At::WriteHome(manifest) => {
                to.write(manifest, |state| &mut state.home);
                At::WriteAway(manifest)
            }
            At::WriteAway(manifest) => {
                to.write(manifest, |state| &mut state.away);
                to.move_labels();
                At::Release
            }
            At::Unchanged { .. } | At::Release => self.release(&mut to, who),
        };
        to.contenders[who].at = at;
        vec![to]
    }

    /// Pushes are alike, so they begin in one order only.
    fn may_begin(&self, state: &State, who: usize) -> bool {
        let others = || (0..self.kinds.len()).filter(|other| *other != who);
        let at = |other: usize| state.contenders[other].at;
        match self.kinds[who] {
            Kind::Rollback => true,
            Kind::Reconcile => others().all(|other| at(other).is_gone()),
            Kind::Push => others()
                .filter(|other| *other < who && self.kinds[*other] == Kind::Push)
                .all(|other| at(other) != At::Absent),
        }
    }

    /// Ends the execution, or the last call of a dead one, if it has reached its end.
    fn end(&self, before: &State, who: usize, mut to: State) -> State {
        let (kind, was) = (self.kinds[who], before.contenders[who]);
        let contender = &mut to.contenders[who];
        if was.over && contender.at.is_between_calls(kind) {
            contender.at = was.at.call(kind).dead();
        }
        contender.over |= contender.at.is_gone();
        to
    }

    /// Adds the failures that a contender can have.
    fn failures(&self, state: &State, who: usize, moves: &mut Vec<Move<State>>) {
        let (kind, was) = (self.kinds[who], state.contenders[who]);
        let mut fail = |what: &str, cost: u8, change: &dyn Fn(&mut ModelContender)| {
            let Some(failures_left) = state.failures_left.checked_sub(cost) else { return };
            let mut to = State { failures_left, ..*state };
            change(&mut to.contenders[who]);
            moves.push(self.describe(who, what, true, to));
        };
        if was.over && !was.at.is_gone() {
            fail("its last call ends without effect", 0, &|it| it.at = it.at.call(kind).dead());
        }
        if let At::Dead(manifest) = was.at
            && state.item.holder != Some(number(who))
        {
            fail("is begun again", 1, &|it| (it.at, it.over) = (At::CheckLease(manifest), false));
        }
        if was.over || was.at == At::Absent || kind == Kind::Reconcile {
            return;
        }
        fail("dies", 1, &|it| {
            (it.over, it.failed) = (true, true);
            if matches!(it.at, At::LastCalls { .. }) {
                it.at = At::Gone;
            }
        });
        if matches!(was.at, At::CheckLease(_)) {
            fail("fails to build", 1, &|it| (it.at, it.failed) = (At::Release, true));
        }
    }

    /// The call takes effect, fails before it returns, and is repeated.
    fn lose_answer(&self, state: &State, who: usize, to: &State) -> Option<State> {
        let was = state.contenders[who];
        let in_call = !was.over && !matches!(was.at, At::Absent | At::LastCalls { .. });
        let failures_left = state.failures_left.checked_sub(1).filter(|_| in_call)?;
        let mut lost = State { failures_left, ..*to };
        let at = was.at.call(self.kinds[who]);
        let mut repeated = ModelContender { at, over: false, ..to.contenders[who] };
        if matches!(at, At::LeaseView { .. }) && self.flaw != Flaw::ResolvesBeforeTheLease {
            // It is going to ask the registry again.
            repeated.resolved = None;
        }
        lost.contenders[who] = repeated;
        Some(lost)
    }

    fn describe(&self, who: usize, what: &str, failure: bool, to: State) -> Move<State> {
        let name = &self.contenders[who].build;
        Move { what: format!("{:?} {name}: {what}", self.kinds[who]), failure, to }
    }

    fn is_settled(&self, state: &State, ended: impl Fn(usize) -> bool) -> bool {
        let State { home, away, registry, .. } = state;
        let all_ended = (0..self.kinds.len()).all(ended);
        !all_ended || (home == away && (home.digest == *registry || home.rollback.is_some()))
    }
}

/// Whether a claim is the first, and the token that it has seen.
type Call = (bool, Option<u8>);

#[derive(Clone, Copy)]
struct Asked {
    holder_is_over: Option<bool>,
    full: bool,
}

fn number(who: usize) -> u8 {
    u8::try_from(who).unwrap()
}

impl At {
    fn take(first: bool, over: Option<u64>) -> Self {
        Self::Take { first, over: over.map(|token| token.try_into().unwrap()) }
    }
}

impl State {
    fn is_over(&self, who: u8) -> bool {
        self.contenders[usize::from(who)].over
    }

    fn write(&mut self, manifest: Manifest, place: impl Fn(&mut Self) -> &mut Manifest) {
        if place(self).token > manifest.token {
            self.wrong = Some("a later publication is replaced");
        }
        *place(self) = manifest;
    }

    fn move_labels(&mut self) {
        if self.current != self.home {
            self.previous = self.current;
            self.current = self.home;
        }
    }

    /// The superseding contender must learn the newest digest later than the superseded one did.
    fn check_superseded(&mut self, who: usize, by: usize) {
        let (who, by) = (self.contenders[who], self.contenders[by]);
        let serves = by.resolved.map_or(!by.over, |digest| digest >= who.pushed);
        if !serves && !by.failed {
            self.wrong = Some("superseded by one that does not serve it");
        }
    }
}

impl Model for Contest {
    type State = State;

    fn start(&self) -> State {
        let of = |digest| Manifest { build: 4, digest, token: digest, rollback: None };
        let absent = ModelContender {
            at: At::Absent,
            over: false,
            failed: false,
            pushed: 0,
            resolved: None,
        };
        let mut contenders = [absent; MOST];
        for left_out in &mut contenders[self.kinds.len()..] {
            (left_out.at, left_out.over) = (At::Gone, true);
        }
        State {
            item: Item { token: 1, ..Item::default() },
            registry: 1,
            home: of(1),
            away: of(1),
            current: of(1),
            previous: of(0),
            contenders,
            failures_left: self.failures,
            wrong: None,
        }
    }

    fn moves(&self, state: &State) -> Vec<Move<State>> {
        let mut moves = Vec::new();
        for who in 0..self.kinds.len() {
            let at = state.contenders[who].at;
            for to in self.steps(state, who) {
                if let Some(lost) = self.lose_answer(state, who, &to) {
                    moves.push(self.describe(who, &format!("{at:?}, answer lost"), true, lost));
                }
                let to = self.end(state, who, to);
                moves.push(self.describe(who, &format!("{at:?}"), false, to));
            }
            self.failures(state, who, &mut moves);
        }
        moves
    }

    fn wrong(&self, state: &State) -> Option<&'static str> {
        let contenders = &state.contenders[..self.kinds.len()];
        let ended = |who: usize| contenders[who].at.is_gone();
        let unharmed = contenders.iter().all(|contender| !contender.failed);
        let count =
            |test: fn(&ModelContender) -> bool| contenders.iter().filter(|it| test(it)).count();
        let ended_or_reconcile = |who| ended(who) || self.kinds[who] == Kind::Reconcile;
        if count(|it| it.at.publishes()) > 1 {
            return Some("two publish at once");
        }
        if count(|it| it.at.builds() && !it.over && !it.failed) > 1 {
            return Some("two build at once");
        }
        if unharmed && !self.is_settled(state, ended_or_reconcile) {
            return Some("a request is lost though nobody died");
        }
        if !self.is_settled(state, ended) {
            return Some("a request is lost");
        }
        if self.is_final(state) && unharmed && state.item.holder.is_some() {
            return Some("the lease outlives its execution");
        }
        state.wrong
    }

    fn is_final(&self, state: &State) -> bool {
        state.contenders.iter().all(|contender| contender.at.is_gone())
    }
}

mod tests {
    use super::super::explore::{Explored, explore};
    use super::*;

    const PUSH: Kind = Kind::Push;
    const RECONCILE: Kind = Kind::Reconcile;
    const ROLLBACK: Kind = Kind::Rollback;

    const TWO: [Kind; 3] = [PUSH, PUSH, RECONCILE];
    const THREE: [Kind; 4] = [PUSH, PUSH, PUSH, RECONCILE];
    const WITH_ROLLBACK: [Kind; 4] = [PUSH, ROLLBACK, PUSH, RECONCILE];

    fn assert_holds(kinds: &[Kind], failures: u8) {
        match explore(&Contest::new(kinds, failures, Flaw::None)) {
            Ok(Explored { states, depth }) => println!(
                "{kinds:?}, {failures} failures: {states} states, up to {depth} moves away"
            ),
            Err((wrong, trace)) => panic!("{wrong}:\n{}", trace.join("\n")),
        }
    }

    #[test]
    fn two_pushes_and_the_schedule_publish_the_newest_despite_two_failures() {
        assert_holds(&TWO, 2);
    }

    #[test]
    fn three_pushes_and_the_schedule_publish_the_newest_despite_a_failure() {
        assert_holds(&THREE, 1);
    }

    #[test]
    fn a_rollback_among_pushes_completes_or_gives_way_despite_a_failure() {
        assert_holds(&WITH_ROLLBACK, 1);
    }

    /// Every part of the protocol is needed: without it the model breaks.
    #[test]
    fn no_part_of_the_protocol_can_be_left_out() {
        for (flaw, kinds, failures, wrong) in [
            (Flaw::TakesWithoutCondition, &TWO[..], 0, "two build at once"),
            (Flaw::WaitsForNoLastCall, &TWO, 2, "two publish at once"),
            (Flaw::PublishesWithoutCheck, &TWO, 2, "two publish at once"),
            (Flaw::ResolvesBeforeTheLease, &TWO, 0, "superseded by one that does not serve it"),
            (Flaw::ForgetsToRelease, &TWO, 0, "the lease outlives its execution"),
            (Flaw::ReleasesWithoutCondition, &TWO, 1, "a request is lost though nobody died"),
            (Flaw::TakesOverWithoutToken, &WITH_ROLLBACK, 1, "two build at once"),
            (Flaw::SupersededByTheHolder, &TWO, 0, "superseded by one that does not serve it"),
        ] {
            let found = explore(&Contest::new(kinds, failures, flaw)).map_err(|(wrong, _)| wrong);
            assert_eq!(found, Err(wrong), "{flaw:?}");
        }
    }
}
