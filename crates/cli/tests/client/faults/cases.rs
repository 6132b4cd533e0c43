//! The faults of the matrix, and what each means for a call that meets it.

use std::time::Duration;

use fanfare_client::Error;

use crate::proxy::Fault;

/// A fault and its meaning.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) fault: Fault,
    pub(crate) meaning: Meaning,
    /// Only HTTP/2 has it.
    pub(crate) only_two: bool,
    /// It ends by the client's time-out alone.
    pub(crate) waits: bool,
}

/// What a client knows after a fault, and so what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// No connection: certainly not done, every call may be repeated.
    NotSent,
    /// The hub was too busy to do it: certainly not done, every call may be repeated.
    Throttled,
    /// There is no whole reply: a call is repeated only if doing it twice is doing it once.
    Lost,
    /// As [`Self::Lost`], and this status says so.
    Unwell(u16),
    /// The hub, or something before it, said no with this status: nothing is repeated.
    Refused(u16),
    /// A whole reply that nobody can read: nothing is repeated.
    Nonsense,
}

impl Case {
    /// Whether the hub did what was asked although the client met the fault.
    pub(crate) fn reaches_hub(&self) -> bool {
        matches!(
            self.fault,
            Fault::Pass | Fault::CutAfter | Fault::LoseReply | Fault::CutBody
        )
    }

    /// Whether the proxy keeps a record of a request that meets it.
    pub(crate) fn is_seen(&self) -> bool {
        !self.fault.is_before_http()
    }
}

impl Meaning {
    /// Whether a call is made again; `twice_is_once`: whether doing it twice is doing it once.
    pub(crate) fn repeats(self, twice_is_once: bool) -> bool {
        match self {
            Self::NotSent | Self::Throttled => true,
            Self::Lost | Self::Unwell(_) => twice_is_once,
            Self::Refused(_) | Self::Nonsense => false,
        }
    }

    /// What the error must say about the hub.
    pub(crate) fn may_have_been_done(self) -> bool {
        match self {
            Self::NotSent | Self::Throttled | Self::Refused(_) => false,
            Self::Lost | Self::Unwell(_) | Self::Nonsense => true,
        }
    }

    /// Says what is wrong with an error that should have this meaning.
    pub(crate) fn check(self, error: &Error) -> Result<(), String> {
        let fits = match (self, error) {
            (Self::NotSent, Error::Unreachable { .. })
            | (Self::Lost, Error::NoReply { .. })
            | (Self::Nonsense, Error::Reply { .. }) => true,
            (Self::Throttled, Error::Refused(refusal)) => refusal.status == 429,
            (Self::Unwell(status) | Self::Refused(status), Error::Refused(refusal)) => {
                refusal.status == status
            }
            _ => false,
        };
        if !fits {
            return Err(format!("{self:?} is no {error:?}"));
        }
        let can_help = !matches!(self, Self::Refused(_) | Self::Nonsense);
        if error.can_retry_help() != can_help {
            return Err(format!("can_retry_help() is {} of {error:?}", !can_help));
        }
        match error.request() {
            Some(_) => Ok(()),
            None => Err(format!("the request is missing in {error:?}")),
        }
    }
}

/// Every fault of the matrix. `elsewhere` is where the redirect leads.
pub(crate) fn all(elsewhere: &str) -> Vec<Case> {
    use Meaning::{Lost, Nonsense, NotSent, Refused, Throttled, Unwell};

    let case = |name, fault, meaning| Case {
        name,
        fault,
        meaning,
        only_two: false,
        waits: false,
    };
    let waits = |name, fault, meaning| Case {
        waits: true,
        ..case(name, fault, meaning)
    };
    let two = |name, fault, meaning| Case {
        only_two: true,
        ..case(name, fault, meaning)
    };
    let past = "Wed, 01 Jan 2020 00:00:00 GMT".to_owned();
    vec![
        case("cut before TLS", Fault::CutHandshake, NotSent),
        waits("TLS hangs", Fault::HangHandshake, NotSent),
        case("cut before it is read", Fault::CutBefore, Lost),
        waits("never answered", Fault::NeverAnswer, Lost),
        case("cut after it was done", Fault::CutAfter, Lost),
        waits("reply lost", Fault::LoseReply, Lost),
        case("cut in the reply's body", Fault::CutBody, Lost),
        case("429", Fault::throttled(None), Throttled),
        case(
            "429, seconds",
            Fault::throttled(Some("0".to_owned())),
            Throttled,
        ),
        case(
            "429, an hour",
            Fault::throttled(Some("3600".to_owned())),
            Throttled,
        ),
        case("429, a date", Fault::throttled(Some(past)), Throttled),
        case(
            "429, garbage",
            Fault::throttled(Some("soon".to_owned())),
            Throttled,
        ),
        case("503", Fault::unavailable(), Unwell(503)),
        case("502 with a page", Fault::bad_gateway(), Unwell(502)),
        case("401", Fault::unauthorized(), Refused(401)),
        case("redirect", Fault::redirect(elsewhere), Refused(307)),
        case("not HTTP", Fault::garbage(), Lost),
        case("body too short", Fault::body_too_short(), Lost),
        case("length no number", Fault::length_not_a_number(), Lost),
        case("not JSON", Fault::garbage_json(), Nonsense),
        two(
            "stream refused",
            Fault::Reset(h2::Reason::REFUSED_STREAM),
            NotSent,
        ),
        two(
            "stream reset",
            Fault::Reset(h2::Reason::INTERNAL_ERROR),
            Lost,
        ),
    ]
}

/// One try of a call that meets a fault that waits; a loaded machine must do an honest call in it.
pub(crate) const TRY_WAITS: Duration = Duration::from_secs(3);
