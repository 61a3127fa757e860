//! The cache documents that a warm function read last. Every push to a registry of the account
//! starts an execution, and most pushes concern no cache. A storm of pushes must not exhaust the
//! account's Parameter Store rate.

use std::sync::{Arc, Mutex, PoisonError};

use frontload_aws::parameters;
use frontload_domain::Result;
use frontload_domain::step::Waited;

use crate::context::Context;

/// Seconds for which a push that concerns no cache is answered without reading.
const KEPT_SECONDS: u32 = 60;

/// The listing that a warm function remembers.
#[derive(Debug, Default)]
pub struct Documents(Mutex<Option<Listing>>);

/// Every cache document at one point in time.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Epoch seconds when the reading began.
    begun: i64,
    /// Pairs of the parameter's full name and the document.
    pub documents: Arc<[(String, String)]>,
}

/// How far a push may rely on a listing.
#[derive(Debug, PartialEq, Eq)]
pub enum Trust {
    /// It shows every document that was written before the push.
    Complete,
    /// A document may have been written since. Another listing is due in this many seconds.
    ReadAgain(u32),
    /// It has been kept or waited for long enough.
    Expired,
}

impl Documents {
    /// Reads every document and remembers them.
    ///
    /// # Errors
    /// Those of [`parameters::list`].
    pub async fn read(&self, context: &Context) -> Result<Listing> {
        let &Context { ref clients, ref settings, now, .. } = context;
        let ssm = clients.own_ssm(&settings.home.region);
        let documents = parameters::list(&ssm, &settings.prefix.caches()).await?.into();
        let listing = Listing { begun: now, documents };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.insert(listing).clone())
    }

    /// Returns the listing that was read last.
    pub fn kept(&self) -> Option<Listing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Listing {
    /// Decides how far a push may rely on these documents. `started` is the start of its execution,
    /// if known. `waited` is how long the execution has waited. `started` and `now` are in epoch
    /// seconds. The execution starts after the push, and nobody outside can choose its start.
    pub fn trust(&self, started: Option<i64>, waited: Waited, now: i64) -> Trust {
        let Some(started) = started else { return Trust::Expired };
        let left = self.begun.saturating_add(KEPT_SECONDS.into()).saturating_sub(now);
        match u32::try_from(left) {
            // A clock that was set back does not make a listing last longer.
            Ok(1..=KEPT_SECONDS) if self.begun > started => Trust::Complete,
            Ok(left @ 1..=KEPT_SECONDS) if !waited.is_past(KEPT_SECONDS) => Trust::ReadAgain(left),
            _ => Trust::Expired,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const READ: i64 = 1_780_000_000;

    fn trust(started: i64, waited: u64, now: i64) -> Trust {
        let listing = Listing { begun: READ, documents: Arc::default() };
        listing.trust(Some(READ + started), Waited(waited), READ + now)
    }

    #[test]
    fn executions_that_started_earlier_trust_a_listing_for_a_minute() {
        assert_eq!(trust(-1, 0, 59), Trust::Complete);
        assert_eq!(trust(-1, 0, 60), Trust::Expired);
    }

    #[test]
    fn executions_that_started_after_the_reading_wait_for_another() {
        assert_eq!(trust(0, 0, 0), Trust::ReadAgain(60));
        assert_eq!(trust(20, 0, 25), Trust::ReadAgain(35));
        assert_eq!(trust(59, 0, 60), Trust::Expired);
    }

    #[test]
    fn after_a_minute_an_execution_stops_waiting() {
        assert_eq!(trust(0, 59, 30), Trust::ReadAgain(30));
        assert_eq!(trust(0, 60, 30), Trust::Expired);
    }

    #[test]
    fn a_clock_set_back_does_not_prolong_a_listing() {
        assert_eq!(trust(-100, 0, -1), Trust::Expired);
        assert_eq!(trust(i64::MAX - READ, 0, i64::MIN + READ), Trust::Expired);
    }

    proptest! {
        #[test]
        fn no_push_relies_on_an_older_listing(
            started in -200..200_i64,
            waited in 0..100_u64,
            now in -200..200_i64,
        ) {
            let trust = trust(started, waited, now);
            prop_assert!(trust != Trust::Complete || started < 0);
        }

        #[test]
        fn the_waits_of_a_push_end(started in -200..200_i64, later in 0..200_i64) {
            let mut waited = 0;
            let mut now = started.max(0) + later;
            while let Trust::ReadAgain(seconds) = trust(started, waited, now) {
                prop_assert!(seconds > 0);
                waited += u64::from(seconds);
                now += 1;
            }
            prop_assert!(waited < 2 * u64::from(KEPT_SECONDS));
        }
    }
}
