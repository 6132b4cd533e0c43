//! Shared access policies.

use fanfare_hub::{
    access::{DEFAULT_POLICIES, Policy, Rights},
    registry::SymmetricKey,
};

use super::Scratch;

pub(crate) async fn policies_are_kept_and_replaced(mut scratch: Scratch) {
    let store = scratch.store();
    assert!(store.policy_list().await.unwrap().is_empty());
    let policy = |(name, rights): (&str, Rights), key: &str| Policy {
        name: name.to_owned(),
        rights,
        primary: SymmetricKey::new(key),
        secondary: SymmetricKey::new("c2Vjb25k"),
    };
    let mut policies: Vec<_> = DEFAULT_POLICIES
        .into_iter()
        .map(|default| policy(default, "Zmlyc3Q="))
        .collect();
    store.policy_put(policies.clone()).await.unwrap();
    policies[1] = policy(("service", Rights::NONE), "bmV3");
    store.policy_put(vec![policies[1].clone()]).await.unwrap();
    drop(store);
    scratch.reopen();
    let mut listed = scratch.store().policy_list().await.unwrap();
    listed.sort_by_key(|policy| policies.iter().position(|known| known.name == policy.name));
    assert_eq!(listed, policies);
}
