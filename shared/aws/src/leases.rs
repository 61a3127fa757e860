//! Leases: for each cache and architecture, one item of a `DynamoDB` table records
//! the newest request and the build that holds the lease. Conditional writes decide
//! every race. Each acquisition increments a fencing token.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};

use super::{call_error, incomplete_answer};
use frontload_domain::lease::{Acquire, BuildOptions, Contender, LeaseKey, LeaseState};
use frontload_domain::{BuildId, Result};

/// The table and its client.
#[derive(Clone, Debug)]
pub struct Leases {
    client: Client,
    table: String,
}

/// The key attribute. No attribute name here is a reserved word of `DynamoDB`.
const KEY: &str = "cacheAndArchitecture";

/// Attributes by name.
pub(super) type Item = HashMap<String, AttributeValue>;

impl Leases {
    /// Leases in a table.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Makes `contender` the newest request, unless it already holds the lease, and
    /// returns the resulting state. Stores `options` for the next build that takes the
    /// lease. `now` is in epoch seconds.
    ///
    /// # Errors
    /// Those of [`call_error`].
    pub async fn register(
        &self,
        key: &LeaseKey,
        contender: &Contender,
        now: i64,
        options: BuildOptions,
    ) -> Result<LeaseState> {
        let force = if options.force { ", forced = :yes" } else { "" };
        let full = if options.full { ", inFull = :yes" } else { "" };
        let update = format!(
            "SET newestBuild = :build, newestExecution = :execution, \
             waitingSince = if_not_exists(waitingSince, :now){force}{full}"
        );
        let mut values = values_of(contender);
        values.insert(":now".to_owned(), AttributeValue::N(now.to_string()));
        if options != BuildOptions::default() {
            values.insert(":yes".to_owned(), AttributeValue::Bool(true));
        }
        let condition = "attribute_not_exists(heldBy) OR heldBy <> :build";
        match self.update(key, update, condition, values).await? {
            Some(state) => Ok(state),
            None => self.read(key).await,
        }
    }

    /// The current state, from a consistent read.
    ///
    /// # Errors
    /// Those of [`call_error`].
    pub async fn read(&self, key: &LeaseKey) -> Result<LeaseState> {
        let operation = "dynamodb:GetItem";
        let region = self.client.config().region();
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key(KEY, AttributeValue::S(key.to_string()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| call_error(operation, self.shown(key), region, &error))?;
        let Some(item) = output.item() else { return Ok(LeaseState::default()) };
        read_item(item)
            .map_err(|reason| incomplete_answer(operation, self.shown(key), region, reason))
    }

    /// Takes the lease if nobody holds it, or if its token is still `over`: the caller
    /// found that the execution of that token's holder is over. Returns `None` when
    /// somebody else was faster.
    ///
    /// Tokens of a new item count from `now`, in epoch seconds. When the table is
    /// recreated with the stack, its tokens must not start below tokens already published.
    ///
    /// # Errors
    /// Those of [`call_error`].
    pub async fn take(
        &self,
        key: &LeaseKey,
        contender: &Contender,
        acquire: Acquire,
        over: Option<u64>,
        now: i64,
    ) -> Result<Option<LeaseState>> {
        let set = "SET heldBy = :build, heldByExecution = :execution, \
                   leaseToken = if_not_exists(leaseToken, :now) + :one";
        let free = "(attribute_not_exists(heldBy) OR leaseToken = :over)";
        let (update, condition) = match acquire {
            Acquire::AsNewest => (
                format!(
                    "{set}, heldForced = if_not_exists(forced, :no), \
                     heldInFull = if_not_exists(inFull, :no) \
                     REMOVE waitingSince, forced, inFull"
                ),
                format!("newestBuild = :build AND {free}"),
            ),
            Acquire::AsAnybody => {
                (format!("{set}, heldForced = :no, heldInFull = :no"), free.to_owned())
            }
        };
        let mut values = values_of(contender);
        let number = |number: &str| AttributeValue::N(number.to_owned());
        let over = over.map_or_else(|| "-1".to_owned(), |token| token.to_string());
        values.insert(":over".to_owned(), number(&over));
        values.insert(":now".to_owned(), number(&now.to_string()));
        values.insert(":one".to_owned(), number("1"));
        values.insert(":no".to_owned(), AttributeValue::Bool(false));
        self.update(key, update, &condition, values).await
    }

    /// Releases the lease; returns `false` when `build` does not hold it. With
    /// `next_in_full` the next build starts on an empty volume.
    ///
    /// # Errors
    /// Those of [`call_error`].
    pub async fn release(
        &self,
        key: &LeaseKey,
        build: &BuildId,
        next_in_full: bool,
    ) -> Result<bool> {
        let remove = "REMOVE heldBy, heldByExecution, heldForced, heldInFull";
        let mut values: Item = [(":build".to_owned(), AttributeValue::S(build.to_string()))].into();
        let update = if next_in_full {
            values.insert(":yes".to_owned(), AttributeValue::Bool(true));
            format!("SET inFull = :yes {remove}")
        } else {
            remove.to_owned()
        };
        Ok(self.update(key, update, "heldBy = :build", values).await?.is_some())
    }

    /// Updates the item; returns `None` when the condition is false.
    async fn update(
        &self,
        key: &LeaseKey,
        update: String,
        condition: &str,
        values: Item,
    ) -> Result<Option<LeaseState>> {
        let (place, region) = ((&self.client, self.table.as_str()), self.client.config().region());
        let Some(item) = update_item(place, &key.to_string(), &update, condition, values).await?
        else {
            return Ok(None);
        };
        read_item(&item).map(Some).map_err(|reason| {
            incomplete_answer("dynamodb:UpdateItem", self.shown(key), region, reason)
        })
    }

    fn shown(&self, key: &LeaseKey) -> String {
        shown(&key.to_string(), &self.table)
    }
}

fn shown(key: &str, table: &str) -> String {
    format!("lease {key} in table {table}")
}

/// Updates the item of a key in a table. Returns the updated item, or `None` when the
/// condition is false.
///
/// # Errors
/// Those of [`call_error`].
pub(super) async fn update_item(
    (client, table): (&Client, &str),
    key: &str,
    update: &str,
    condition: &str,
    values: Item,
) -> Result<Option<Item>> {
    let region = client.config().region();
    let answer = client
        .update_item()
        .table_name(table)
        .key(KEY, AttributeValue::S(key.to_owned()))
        .update_expression(update)
        .condition_expression(condition)
        .set_expression_attribute_values(Some(values))
        .return_values(ReturnValue::AllNew)
        .send()
        .await;
    match answer {
        Ok(output) => Ok(Some(output.attributes().cloned().unwrap_or_default())),
        Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(None),
        Err(error) => Err(call_error("dynamodb:UpdateItem", shown(key, table), region, &error)),
    }
}

fn values_of(contender: &Contender) -> Item {
    [
        (":build".to_owned(), AttributeValue::S(contender.build.to_string())),
        (":execution".to_owned(), AttributeValue::S(contender.execution.clone())),
    ]
    .into()
}

fn read_item(item: &Item) -> std::result::Result<LeaseState, String> {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
    let number = |name: &str| {
        let Some(value) = item.get(name) else { return Ok(None) };
        let parsed = value.as_n().ok().and_then(|digits| digits.parse::<i64>().ok());
        parsed.map(Some).ok_or_else(|| format!("its {name} is not a number"))
    };
    let contender = |build: &str, execution: &str| -> std::result::Result<_, String> {
        let (Some(build), Some(execution)) = (text(build), text(execution)) else {
            return Ok(None);
        };
        Ok(Some(Contender { build: build.parse()?, execution: execution.clone() }))
    };
    let flag = |name: &str| item.get(name).is_some_and(|value| value.as_bool() == Ok(&true));
    Ok(LeaseState {
        newest: contender("newestBuild", "newestExecution")?,
        waiting_since: number("waitingSince")?,
        holder: contender("heldBy", "heldByExecution")?,
        options: BuildOptions { force: flag("heldForced"), full: flag("heldInFull") },
        token: number("leaseToken")?.and_then(|token| token.try_into().ok()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeCloud;
    use frontload_domain::Architecture;

    const NOTHING: BuildOptions = BuildOptions { force: false, full: false };
    const FORCE: BuildOptions = BuildOptions { force: true, full: false };

    fn leases(cloud: &FakeCloud) -> Leases {
        cloud.clients().leases(&"us-east-1".parse().unwrap(), "leases")
    }

    fn key() -> LeaseKey {
        LeaseKey::new(&"default".parse().unwrap(), Architecture::Arm64)
    }

    fn contender(name: &str) -> Contender {
        Contender { build: name.parse().unwrap(), execution: format!("arn:{name}") }
    }

    #[tokio::test]
    async fn a_lease_without_a_request_has_no_holder() {
        let leases = leases(&FakeCloud::default());
        assert_eq!(leases.read(&key()).await.unwrap(), LeaseState::default());
        assert!(!leases.release(&key(), &contender("a").build, false).await.unwrap());
    }

    #[tokio::test]
    async fn only_the_newest_request_takes_the_lease_and_ends_the_wait() {
        let leases = leases(&FakeCloud::default());
        leases.register(&key(), &contender("a"), 100, NOTHING).await.unwrap();
        let state = leases.register(&key(), &contender("b"), 130, NOTHING).await.unwrap();
        assert_eq!((state.newest, state.waiting_since), (Some(contender("b")), Some(100)));
        let take = async |name: &str| {
            leases.take(&key(), &contender(name), Acquire::AsNewest, None, 0).await.unwrap()
        };
        assert_eq!(take("a").await, None);
        let taken = take("b").await.unwrap();
        assert_eq!((taken.holder, taken.token), (Some(contender("b")), 1));
        assert_eq!(taken.waiting_since, None);
    }

    #[tokio::test]
    async fn a_held_lease_is_taken_over_once_with_its_seen_token() {
        let leases = leases(&FakeCloud::default());
        let take = async |name: &str, over| {
            let acquire = Acquire::AsAnybody;
            leases.take(&key(), &contender(name), acquire, over, 0).await.unwrap().map(|s| s.token)
        };
        assert_eq!(take("a", None).await, Some(1));
        assert_eq!(take("b", None).await, None);
        assert_eq!(take("b", Some(1)).await, Some(2));
        assert_eq!(take("c", Some(1)).await, None, "it saw a lease that is no more");
        assert!(!leases.release(&key(), &contender("a").build, false).await.unwrap());
        assert!(leases.release(&key(), &contender("b").build, false).await.unwrap());
        assert_eq!(take("c", None).await, Some(3), "tokens never repeat");
    }

    #[tokio::test]
    async fn a_recreated_table_continues_above_the_old_tokens() {
        let take = async |leases: &Leases, now| {
            let (acquire, a) = (Acquire::AsAnybody, contender("a"));
            let taken = leases.take(&key(), &a, acquire, None, now).await.unwrap().unwrap();
            leases.release(&key(), &a.build, false).await.unwrap();
            taken.token
        };
        let (first, recreated) = (leases(&FakeCloud::default()), leases(&FakeCloud::default()));
        assert_eq!(take(&first, 1_000).await, 1_001);
        assert_eq!(take(&first, 2_000).await, 1_002, "a token counts acquisitions, not seconds");
        assert!(take(&recreated, 2_001).await > 1_002);
    }

    #[tokio::test]
    async fn force_applies_to_the_next_holder_whichever_request_set_it() {
        let leases = leases(&FakeCloud::default());
        leases.register(&key(), &contender("a"), 0, FORCE).await.unwrap();
        leases.register(&key(), &contender("b"), 0, NOTHING).await.unwrap();
        let take = async |name: &str| {
            let taken = leases.take(&key(), &contender(name), Acquire::AsNewest, None, 0).await;
            taken.unwrap().unwrap().options.force
        };
        assert!(take("b").await);
        leases.release(&key(), &contender("b").build, false).await.unwrap();
        leases.register(&key(), &contender("c"), 0, NOTHING).await.unwrap();
        assert!(!take("c").await);
    }

    #[tokio::test]
    async fn a_holder_that_registers_again_requests_nothing_new() {
        let leases = leases(&FakeCloud::default());
        leases.register(&key(), &contender("a"), 0, NOTHING).await.unwrap();
        leases.take(&key(), &contender("a"), Acquire::AsNewest, None, 0).await.unwrap();
        let state = leases.register(&key(), &contender("a"), 5, NOTHING).await.unwrap();
        assert_eq!((state.waiting_since, state.token), (None, 1));
    }

    #[tokio::test]
    async fn after_a_failed_incremental_build_the_next_starts_empty() {
        let leases = leases(&FakeCloud::default());
        let take = async |name: &str| {
            leases.register(&key(), &contender(name), 0, NOTHING).await.unwrap();
            let taken = leases.take(&key(), &contender(name), Acquire::AsNewest, None, 0).await;
            taken.unwrap().unwrap().options
        };
        assert_eq!(take("a").await, NOTHING);
        assert!(leases.release(&key(), &contender("a").build, true).await.unwrap());
        assert_eq!(take("b").await, BuildOptions { force: false, full: true });
        assert!(leases.release(&key(), &contender("b").build, false).await.unwrap());
        assert_eq!(take("c").await, NOTHING);
    }
}
