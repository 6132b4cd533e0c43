//! Who may do what: rights of shared access policies, data actions of tokens, and who acted.
//!
//! [`Action`] is the word for one thing that a route may ask for; a [`Principal`] is whoever proved to be
//! somebody, and [`Principal::may`] the one question. Policies answer it with [`Rights`], tokens of an issuer
//! with an [`ActionSet`]. The policies themselves are in [`policies`]. How somebody proves to be somebody is the front ends' knowledge.

mod action;
mod data_action;
pub mod policies;
mod policy_change;
mod principal;
mod rights;

pub use self::{
    action::Action,
    data_action::{ActionSet, BUILT_IN_ROLES, BuiltInRole, DataAction, ParseActionsError},
    policies::{KeyPlace, Policies, PolicyError, PolicyRequest},
    policy_change::{PolicyChange, PolicyEdit, PolicyRefused, Rotation},
    principal::{Actor, Grants, Principal},
    rights::{DEFAULT_POLICIES, ParseRightsError, Policy, Rights},
};
