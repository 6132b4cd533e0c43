//! What every store must do, written once. An adapter brings a [`Scratch`] and names the [`suite!`].

#![allow(
    clippy::unwrap_used,
    reason = "in a test, an error that nobody expects ends it"
)]

pub(crate) mod authorities;
pub(crate) mod configurations;
pub(crate) mod jobs;
pub(crate) mod jobs_accepted;
pub(crate) mod jobs_journal;
pub(crate) mod jobs_rows;
pub(crate) mod modules;
pub(crate) mod policies;
pub(crate) mod queries;
pub(crate) mod query_pages;
pub(crate) mod query_results;
pub(crate) mod registry;
pub(crate) mod sessions;
pub(crate) mod transfers;
pub(crate) mod twins;

use std::{path::Path, sync::Arc};

use fanfare_hub::{
    ids::{DeviceId, IdentityId, IdentityKey, ModuleId},
    ports::store::Store,
    registry::{
        Authentication, Identity, IdentityError, IdentitySettings, IdentityWrite, IdentityWritten,
        Made, Precondition, Status, SymmetricKey,
    },
    time::Timestamp,
    twin::document::{Object, SectionPatch, TwinPatch},
};
use serde_json::Value;
use tempfile::TempDir;

/// All tests of the contract, each on a store of its own. `$scratch` is an expression that makes one.
macro_rules! suite {
    ($scratch:expr) => {
        crate::contract::tests! { $scratch;
            registry {
                preconditions_decide_who_may_create_and_change
                one_item_of_a_batch_fails_alone
                later_items_of_a_batch_see_earlier_ones
                a_name_used_again_is_another_identity
                deleting_a_device_takes_its_modules
                a_module_needs_its_device
                deleted_identities_keep_their_names_until_forgotten
                a_job_keeps_whoever_was_deleted_after_it_came
                the_status_time_moves_with_the_status_alone
                a_scope_once_set_stays
                a_first_twin_content_belongs_to_the_creation
                a_change_of_an_entry_says_what_the_device_must_hear
                a_refused_twin_change_refuses_the_entry
                lists_go_in_order_of_creation
                counts_follow_every_change
                settings_of_every_kind_survive_a_reopening
            }
            modules {
                a_device_has_at_most_fifty_modules
                an_edge_device_owns_its_two_modules
                a_full_device_does_not_become_an_edge_device
                whoever_loses_a_device_is_named
                an_etag_of_a_name_is_never_seen_again
                keys_that_nobody_named_stay_as_the_writer_finds_them
                a_status_that_nobody_named_stays_as_the_writer_finds_it
                a_leaf_moves_below_edge_devices_only
                rows_of_modules_say_who_looks_after_them
            }
            twins {
                a_new_twin_is_empty_and_in_version_1
                a_patch_moves_versions_and_etag
                an_etag_guards_a_patch
                a_refused_patch_changes_nothing
                clearing_names_the_keys_that_went
                a_replacement_leaves_nothing_of_what_was
                an_etag_guards_a_replacement
                a_report_moves_the_reported_version_alone
                a_report_on_another_version_is_refused
                a_report_reaches_no_later_identity_of_the_name
                unknown_names_have_no_twin
                many_tasks_patch_one_twin_and_nothing_is_lost
                a_patch_is_seen_by_the_next_read
                desired_versions_come_by_key
                numbers_and_metadata_survive_many_patches
                last_activity_moves_no_etag_and_never_back
            }
            sessions {
                a_sign_in_has_all_in_one
                a_module_may_connect_while_its_device_may
                a_session_is_replaced_and_dropped
                a_session_goes_with_its_identity
                a_gone_identity_gets_no_session
                unused_sessions_expire
            }
            configurations {
                a_configuration_is_created_changed_and_removed
                there_are_a_hundred_configurations_at_most
                results_move_no_etag
                an_assignment_is_written_and_remembered_in_one
                a_twin_that_cannot_take_it_stays_and_is_told
                whoever_changes_is_marked_while_there_are_configurations
                a_content_by_hand_is_written_whole_or_not_at_all
            }
            transfers {
                no_more_are_active_than_allowed
                a_running_job_survives_and_begins_again
                a_transfer_ends_once_and_forgets_its_secrets
                ended_transfers_expire_oldest_first
            }
            authorities {
                authorities_are_kept_in_order_of_their_names
                a_refused_change_of_an_authority_changes_nothing
            }
            policies {
                policies_are_kept_and_replaced
                a_refused_change_of_policies_changes_nothing
                the_writer_holds_the_limits_of_policies
                of_two_changes_of_one_version_one_is_made
            }
            queries {
                a_scan_shows_everyone_in_order
                a_scan_goes_on_after_an_ordinal
                a_scan_ends_when_the_visitor_breaks
                a_scan_of_named_devices_shows_these_alone
                devices_and_modules_are_scanned_apart
                rows_answer_paths_and_decode_whole
                a_scan_sees_one_moment
            }
            query_pages {
                whoever_stays_is_shown_exactly_once_while_devices_change
                rows_of_jobs_go_on_while_outcomes_come
                a_place_outlives_the_row_it_was_taken_from
            }
            query_results {
                generated_queries_mean_what_they_mean_over_plain_documents
            }
            jobs {
                a_job_is_accepted_once
                plans_of_every_kind_survive_a_reopening
                due_jobs_come_by_their_start
                lists_go_from_new_to_old_with_every_filter
                an_empty_target_set_ends_the_job_at_once
                a_sealed_set_stays
                a_cancel_before_the_seal_wins
                a_cancel_lets_calls_in_flight_end
                a_cancel_with_nothing_in_flight_ends_at_once
                a_failed_job_has_final_numbers
                an_older_term_is_refused
                expired_jobs_go_and_their_names_are_free
            }
            jobs_accepted {
                racing_jobs_cannot_both_take_the_last_place
                a_job_is_active_from_its_start_to_its_end
                a_repetition_comes_before_every_other_rule
                only_a_waiting_job_is_cancelled_where_that_is_the_rule
            }
            jobs_journal {
                a_device_goes_from_pending_to_its_outcome
                illegal_moves_are_dropped
                the_same_batch_twice_is_one
                a_canceled_job_begins_nothing
                an_answer_after_the_end_is_ignored
                many_jobs_share_one_batch
                the_end_of_the_window_gives_everyone_an_outcome
                whoever_was_canceled_stays_so_when_the_window_ends
                calls_of_an_older_term_can_still_be_answered
                a_page_patches_and_settles_in_one
                only_desired_changes_are_told
            }
            jobs_rows {
                pages_of_any_size_show_every_row_once
                jobs_and_devices_narrow_a_scan
                deleted_devices_keep_their_names
                answers_of_every_size_come_back_whole
            }
        }
    };
}
pub(crate) use suite;

macro_rules! tests {
    ($scratch:expr; $($area:ident { $($name:ident)+ })+) => {
        $(mod $area {
            $(#[tokio::test]
            async fn $name() {
                crate::contract::$area::$name($scratch).await;
            })+
        })+
    };
}
pub(crate) use tests;

/// A store in a folder of its own, which goes with it.
pub(crate) struct Scratch {
    store: Option<Arc<dyn Store>>,
    open: fn(&Path) -> Arc<dyn Store>,
    folder: TempDir,
}

impl Scratch {
    pub(crate) fn new(open: fn(&Path) -> Arc<dyn Store>) -> Self {
        let folder =
            tempfile::tempdir().expect("the system's folder for temporary files is writable");
        Self {
            store: Some(open(folder.path())),
            open,
            folder,
        }
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        self.store.clone().expect("it is open between calls")
    }

    /// Closes the store and opens it again. Nobody else may hold it.
    pub(crate) fn reopen(&mut self) {
        let store = self.store.take().expect("it is open between calls");
        assert_eq!(
            Arc::strong_count(&store),
            1,
            "somebody still holds the store"
        );
        drop(store);
        self.store = Some((self.open)(self.folder.path()));
    }
}

/// Moments: `at(n)` is n seconds into a day in 2031.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp(1_927_857_906_000_000 + second * 1_000_000)
}

pub(crate) fn device(name: &str) -> IdentityId {
    IdentityId::device(DeviceId::parse(name).expect("tests use valid names"))
}

pub(crate) fn module(device: &str, name: &str) -> IdentityId {
    IdentityId {
        device: DeviceId::parse(device).expect("tests use valid names"),
        module: Some(ModuleId::parse(name).expect("tests use valid names")),
    }
}

pub(crate) fn settings() -> IdentitySettings {
    IdentitySettings {
        status: Status::Enabled,
        status_reason: None,
        authentication: Authentication::Sas {
            primary: SymmetricKey::new("cHJpbWFyeQ=="),
            secondary: SymmetricKey::new("c2Vjb25kYXJ5"),
        },
        edge: false,
        device_scope: None,
        parent_scopes: Vec::new(),
        managed_by: None,
    }
}

pub(crate) fn put(id: &IdentityId, precondition: Precondition) -> IdentityWrite {
    IdentityWrite::Put {
        id: id.clone(),
        settings: settings(),
        made: Made::default(),
        modules: Vec::new(),
        precondition,
        twin: None,
    }
}

pub(crate) fn delete(id: &IdentityId, precondition: Precondition) -> IdentityWrite {
    IdentityWrite::Delete {
        id: id.clone(),
        precondition,
    }
}

/// One write, one answer.
pub(crate) async fn write(
    store: &Arc<dyn Store>,
    write: IdentityWrite,
    at: Timestamp,
) -> Result<IdentityWritten, IdentityError> {
    let mut results = store
        .identity_write(vec![write], at)
        .await
        .expect("the store works");
    assert_eq!(results.len(), 1);
    results.remove(0)
}

/// The entry after a write that must succeed.
pub(crate) async fn written(
    store: &Arc<dyn Store>,
    item: IdentityWrite,
    at: Timestamp,
) -> Identity {
    match write(store, item, at)
        .await
        .expect("nothing speaks against the write")
    {
        IdentityWritten::Put { identity, .. } | IdentityWritten::Deleted { identity, .. } => {
            *identity
        }
    }
}

/// Creates devices of these names; gives their keys.
pub(crate) async fn create(store: &Arc<dyn Store>, names: &[&str]) -> Vec<IdentityKey> {
    let mut keys = Vec::new();
    for name in names {
        let identity = written(store, put(&device(name), Precondition::Absent), at(0)).await;
        keys.push(identity.key);
    }
    keys
}

pub(crate) fn object(value: Value) -> Object {
    match value {
        Value::Object(members) => members,
        other => panic!("{other} is not an object"),
    }
}

/// A patch of both sections; `null` leaves one alone.
pub(crate) fn patch(tags: Value, desired: Value) -> TwinPatch {
    let section = |value: Value| match value {
        Value::Null => SectionPatch::Absent,
        members => SectionPatch::Merge(object(members)),
    };
    TwinPatch::new(section(tags), section(desired)).expect("tests use valid patches")
}
