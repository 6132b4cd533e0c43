//! The job engine and direct methods over the embedded store, with threads and without: what must hold
//! of a whole hub, with time moved by hand.

mod rig;

mod cancels;
mod configurations;
mod corruption;
mod crashes;
mod histories;
mod jobs;
mod methods;
mod profile;
mod registry;
mod restarts;
mod starts;
mod upkeep;
mod watches;

/// Each test once with the store's threads and once without.
macro_rules! on_both {
    ($($name:ident)+) => {
        mod threads {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&crate::rig::Disk::new(crate::rig::Kind::Threads)).await;
            })+
        }
        mod in_line {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&crate::rig::Disk::new(crate::rig::Kind::Inline)).await;
            })+
        }
    };
}
pub(crate) use on_both;
