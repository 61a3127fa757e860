//! One reaper works at a time. An item of the lease table records the current turn, under a
//! key that no cache can have. A reaper that comes meanwhile leaves a request there.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;

use super::leases::{Item, update_item};
use frontload_domain::Result;

/// The item's key. Keys of caches contain a slash and no space.
const REAPER: &str = "the reaper";

/// Longer than any call of a function lasts. The turn of a reaper that died expires.
const TURN_SECONDS: i64 = 60;

/// The lease table and its client.
#[derive(Clone, Debug)]
pub struct Turns {
    client: Client,
    table: String,
}

/// A turn that was taken.
#[derive(Debug, PartialEq, Eq)]
pub struct Turn {
    /// When it expires, in epoch seconds.
    ends: i64,
}

impl Turns {
    /// Turns that are stored in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Takes the turn at `now`, in epoch seconds. Returns `None` while another reaper has
    /// it, and leaves a request there. The holder then checks again.
    ///
    /// # Errors
    /// Those of the calls.
    pub async fn take(&self, now: i64) -> Result<Option<Turn>> {
        let turn = Turn { ends: now + TURN_SECONDS };
        let values = [number(":ends", turn.ends), number(":now", now)];
        let set = "SET turnEnds = :ends REMOVE askedMeanwhile";
        if self.update(set, "attribute_not_exists(turnEnds) OR turnEnds < :now", values).await? {
            return Ok(Some(turn));
        }
        let word = [(":yes".to_owned(), AttributeValue::Bool(true))];
        // If the turn has just ended, the request is lost; the schedule calls again.
        self.update("SET askedMeanwhile = :yes", "attribute_exists(turnEnds)", word).await?;
        Ok(None)
    }

    /// Ends a turn. Returns `false` if another reaper came meanwhile: the turn continues.
    ///
    /// # Errors
    /// Those of the calls.
    pub async fn end(&self, turn: &Turn) -> Result<bool> {
        let mine = "turnEnds = :ends AND attribute_not_exists(askedMeanwhile)";
        if self.update("REMOVE turnEnds", mine, [number(":ends", turn.ends)]).await? {
            return Ok(true);
        }
        let ends = [number(":ends", turn.ends)];
        let goes_on = self.update("REMOVE askedMeanwhile", "turnEnds = :ends", ends).await?;
        Ok(!goes_on)
    }

    /// Ends a turn even if another reaper came meanwhile.
    ///
    /// # Errors
    /// Those of the calls.
    pub async fn give_up(&self, turn: &Turn) -> Result<()> {
        let ends = [number(":ends", turn.ends)];
        self.update("REMOVE turnEnds, askedMeanwhile", "turnEnds = :ends", ends).await.map(drop)
    }

    async fn update<const N: usize>(
        &self,
        update: &str,
        condition: &str,
        values: [(String, AttributeValue); N],
    ) -> Result<bool> {
        let place = (&self.client, self.table.as_str());
        let values = Item::from(values);
        Ok(update_item(place, REAPER, update, condition, values).await?.is_some())
    }
}

fn number(name: &str, value: i64) -> (String, AttributeValue) {
    (name.to_owned(), AttributeValue::N(value.to_string()))
}

#[cfg(test)]
mod tests {
    use crate::testing::FakeCloud;

    #[tokio::test]
    async fn one_reaper_has_the_turn_until_it_ends_or_a_minute_passes() {
        let turns = FakeCloud::default().clients().turns(&"us-east-1".parse().unwrap(), "leases");
        let first = turns.take(100).await.unwrap().unwrap();
        assert!(turns.end(&first).await.unwrap());
        assert!(turns.take(100).await.unwrap().is_some());
        assert_eq!(turns.take(160).await.unwrap(), None);
        assert!(turns.take(161).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_call_during_a_turn_leaves_one_request() {
        let turns = FakeCloud::default().clients().turns(&"us-east-1".parse().unwrap(), "leases");
        let turn = turns.take(100).await.unwrap().unwrap();
        assert_eq!(turns.take(110).await.unwrap(), None);
        assert_eq!(turns.take(120).await.unwrap(), None);
        assert!(!turns.end(&turn).await.unwrap(), "there is more to do");
        assert!(turns.end(&turn).await.unwrap());
        assert!(turns.take(121).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_turn_that_was_taken_over_is_left_alone() {
        let turns = FakeCloud::default().clients().turns(&"us-east-1".parse().unwrap(), "leases");
        let late = turns.take(100).await.unwrap().unwrap();
        let next = turns.take(200).await.unwrap().unwrap();
        assert!(turns.end(&late).await.unwrap());
        turns.give_up(&late).await.unwrap();
        assert_eq!(turns.take(210).await.unwrap(), None);
        turns.give_up(&next).await.unwrap();
        assert!(turns.take(210).await.unwrap().is_some());
    }
}
