//! The lease's item as the model sees it: condition and effect of each conditional write. A test
//! compares it with the expressions that the code sends to the table.

use frontload_domain::lease::{Acquire, BuildOptions, Contender, LeaseState};

/// The item. Contenders are identified by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Item {
    pub newest: Option<u8>,
    pub waiting_since: Option<u8>,
    pub holder: Option<u8>,
    pub token: u8,
}

impl Item {
    /// Does nothing if `who` already holds the lease.
    pub fn register(&mut self, who: u8, now: u8) {
        if self.holder != Some(who) {
            self.newest = Some(who);
            self.waiting_since.get_or_insert(now);
        }
    }

    /// Whether `who` may take the lease.
    pub fn may_take(self, who: u8, acquire: Acquire, over: Option<u8>) -> bool {
        let free = self.holder.is_none() || (over == Some(self.token) && self.token > 0);
        free && (acquire == Acquire::AsAnybody || self.newest == Some(who))
    }

    /// Takes the lease. The caller checks [`Item::may_take`] first.
    pub fn take(&mut self, who: u8, acquire: Acquire) {
        self.holder = Some(who);
        self.token += 1;
        if acquire == Acquire::AsNewest {
            self.waiting_since = None;
        }
    }

    /// Releases the lease if `who` holds it. Returns whether it did.
    pub fn release(&mut self, who: u8) -> bool {
        let held = self.holder == Some(who);
        if held {
            self.holder = None;
        }
        held
    }

    /// Converts the item to the code's type.
    pub fn state(self, contenders: &[Contender]) -> LeaseState {
        let name = |who: Option<u8>| who.map(|who| contenders[usize::from(who)].clone());
        LeaseState {
            newest: name(self.newest),
            waiting_since: self.waiting_since.map(i64::from),
            holder: name(self.holder),
            options: BuildOptions::default(),
            token: self.token.into(),
        }
    }
}

/// Contenders `a`, `b` and so on.
pub fn contenders(count: u8) -> Vec<Contender> {
    let name = |index| String::from(char::from(b'a' + index));
    let contender = |index| Contender {
        build: name(index).parse().unwrap(),
        execution: format!("arn:{}", name(index)),
    };
    (0..count).map(contender).collect()
}

mod tests {
    use frontload_aws::testing::FakeCloud;
    use frontload_domain::Architecture;
    use frontload_domain::lease::LeaseKey;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Operation {
        Register(u8),
        Take(u8, bool, Option<u8>),
        Release(u8),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let who = || 0..3_u8;
        prop_oneof![
            who().prop_map(Operation::Register),
            (who(), any::<bool>(), proptest::option::of(0..6_u8))
                .prop_map(|(who, newest, over)| Operation::Take(who, newest, over)),
            who().prop_map(Operation::Release),
        ]
    }

    /// The state after each operation, in the table and in the model.
    async fn run(operations: Vec<Operation>) -> Vec<(LeaseState, LeaseState)> {
        let leases = FakeCloud::default().clients().leases(&"us-east-1".parse().unwrap(), "leases");
        let key = LeaseKey::new(&"default".parse().unwrap(), Architecture::Arm64);
        let (contenders, mut item) = (contenders(3), Item::default());
        let mut states = Vec::new();
        for (now, operation) in (0_u8..).zip(operations) {
            match operation {
                Operation::Register(who) => {
                    let me = &contenders[usize::from(who)];
                    leases.register(&key, me, now.into(), BuildOptions::default()).await.unwrap();
                    item.register(who, now);
                }
                Operation::Take(who, newest, over) => {
                    let acquire = if newest { Acquire::AsNewest } else { Acquire::AsAnybody };
                    let me = &contenders[usize::from(who)];
                    let token = over.map(u64::from);
                    let took = leases.take(&key, me, acquire, token, 0).await.unwrap().is_some();
                    assert_eq!(took, item.may_take(who, acquire, over));
                    if took {
                        item.take(who, acquire);
                    }
                }
                Operation::Release(who) => {
                    let build = &contenders[usize::from(who)].build;
                    let released = leases.release(&key, build, false).await.unwrap();
                    assert_eq!(released, item.release(who));
                }
            }
            states.push((leases.read(&key).await.unwrap(), item.state(&contenders)));
        }
        states
    }

    proptest! {
        #[test]
        fn the_models_item_matches_the_tables(
            operations in proptest::collection::vec(operation(), 1..40)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            for (table, model) in runtime.block_on(run(operations)) {
                prop_assert_eq!(table, model);
            }
        }
    }
}
