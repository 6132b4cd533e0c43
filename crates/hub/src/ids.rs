//! Names and numbers, parsed once at the border and trusted inside.
//!
//! A `DeviceId` that exists is valid; nothing below a front end checks an id again. Numbers that must
//! not be mixed up (ordinals, generations, terms) are types of their own.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::limits;

/// Why a text is not a valid id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text has no characters.
    #[error("{kind} is empty")]
    Empty {
        /// What was parsed: "device id", "job id", ...
        kind: &'static str,
    },
    /// The text is longer than its kind allows.
    #[error("{kind} has {length} characters, at most {max} are allowed")]
    TooLong {
        /// What was parsed.
        kind: &'static str,
        /// Characters given.
        length: usize,
        /// Characters allowed.
        max: usize,
    },
    /// A character outside the allowed set.
    #[error("{kind} has the character {character:?} at position {position}, allowed are {allowed}")]
    Character {
        /// What was parsed.
        kind: &'static str,
        /// The first offending character.
        character: char,
        /// Its place, counted in characters from 1.
        position: usize,
        /// The allowed set, for people.
        allowed: &'static str,
    },
}

/// The text, if it has 1 to `max` characters, all allowed; the error says which character or length is wrong.
pub(crate) fn checked(
    kind: &'static str,
    text: &str,
    max: usize,
    allowed: &'static str,
    is_allowed: fn(char) -> bool,
) -> Result<Arc<str>, IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { kind });
    }
    let bad = text.chars().enumerate().find(|(_, c)| !is_allowed(*c));
    if let Some((at, character)) = bad {
        return Err(IdError::Character {
            kind,
            character,
            position: at + 1,
            allowed,
        });
    }
    if text.len() > max {
        return Err(IdError::TooLong {
            kind,
            length: text.len(),
            max,
        });
    }
    Ok(text.into())
}

const IDENTITY_CHARACTERS: &str = "ASCII letters, digits and - : . + % _ # * ? ! ( ) , = @ $ '";

fn is_identity_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-:.+%_#*?!(),=@;$'".contains(c)
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:expr, $allowed:expr, $is_allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the text; the error says which character or length is wrong.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                checked($kind, text, $max, $allowed, $is_allowed).map(Self)
            }

            /// The id as it came.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text_id!(
    /// A device's name in the registry: 1 to 128 characters, case-sensitive. compat: REG-11
    DeviceId, "device id", limits::IDENTITY_ID_CHARS_MAX, IDENTITY_CHARACTERS, is_identity_character
);
text_id!(
    /// A module's name on its device: the rules of [`DeviceId`].
    ModuleId, "module id", limits::IDENTITY_ID_CHARS_MAX, IDENTITY_CHARACTERS, is_identity_character
);
text_id!(
    /// A job's name: 1 to 64 ASCII letters, digits and `-`. compat: JOB-1
    JobId, "job id", limits::JOB_ID_CHARS_MAX, "ASCII letters, digits and -",
    |c| c.is_ascii_alphanumeric() || c == '-'
);
text_id!(
    /// A direct method's name: 1 to 100 printable ASCII characters that need no escape in an MQTT
    /// topic, because device SDKs do not agree on decoding it. compat: METHOD-1
    MethodName, "method name", limits::METHOD_NAME_CHARS_MAX, "ASCII letters, digits and - . _ ~ ! * ' ( ) $ , : @",
    |c| c.is_ascii_alphanumeric() || "-._~!*'()$,:@".contains(c)
);

/// Who has a registry entry: a device, or a module on a device.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdentityId {
    /// The device.
    pub device: DeviceId,
    /// The module on it; absent for the device itself.
    pub module: Option<ModuleId>,
}

impl IdentityId {
    /// The identity of a device itself.
    pub fn device(device: DeviceId) -> Self {
        Self {
            device,
            module: None,
        }
    }

    /// Which numbering its ordinal belongs to.
    pub fn space(&self) -> Space {
        if self.module.is_some() {
            Space::Modules
        } else {
            Space::Devices
        }
    }
}

impl fmt::Display for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.module {
            None => write!(f, "{}", self.device),
            Some(module) => write!(f, "{}/{module}", self.device),
        }
    }
}

impl fmt::Debug for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The two numberings of identities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// Device identities.
    Devices,
    /// Module identities.
    Modules,
}

/// An identity's dense number within its [`Space`]; for locality and paging, never for meaning.
pub type Ordinal = u32;

/// The store's key of one identity: never used again, not even after a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdentityKey {
    /// The numbering.
    pub space: Space,
    /// The number.
    pub ordinal: Ordinal,
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// Tells two identities of the same name apart: new at every creation.
    Generation(u64)
);
number!(
    /// A version counter of a registry entry or a twin.
    Etag(u64)
);
number!(
    /// A job's place in the order of acceptance; unique for ever.
    JobNumber(u64)
);
number!(
    /// The number of a node's start; writes under an older one are refused.
    Term(u32)
);

impl Etag {
    /// A twin's etag as everybody sees it, in queries too: base64 of eight bytes. compat: TWIN-2
    pub fn twin_text(self) -> String {
        STANDARD.encode(self.0.to_be_bytes())
    }

    /// A registry entry's etag as everybody sees it: base64 of the decimal digits. compat: REG-6
    pub fn identity_text(self) -> String {
        STANDARD.encode(self.0.to_string())
    }
}

/// Names one call of a direct method for ever, across restarts.
///
/// Its text form is 20 lower-case hex digits: 8 of the term, 12 of the number, so that a request can be
/// encoded once and patched in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId {
    /// The term it was handed out under.
    pub term: Term,
    /// Its number within the term; 48 bits are used.
    pub number: u64,
}

impl CallId {
    /// Length of the text form.
    pub const TEXT_LEN: usize = 20;

    /// Reads the text form; anything else is nobody's call.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != Self::TEXT_LEN || !text.bytes().all(hex) {
            return None;
        }
        Some(Self {
            term: Term(u32::from_str_radix(&text[..8], 16).ok()?),
            number: u64::from_str_radix(&text[8..], 16).ok()?,
        })
    }

    /// The text form as bytes, without an allocation.
    pub fn to_text(self) -> [u8; Self::TEXT_LEN] {
        let mut text = [0; Self::TEXT_LEN];
        let digits = (u128::from(self.term.0) << 48) | u128::from(self.number & 0xffff_ffff_ffff);
        for (i, byte) in text.iter_mut().enumerate() {
            let nibble = (digits >> (4 * (Self::TEXT_LEN - 1 - i))) & 0xf;
            *byte = b"0123456789abcdef"[nibble as usize];
        }
        text
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_text()).expect("hex digits are ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_ids_keep_to_the_contract() {
        for good in [
            "a",
            "x#+foo",
            "A-b:c.d+e%f_g#h*i?j!(k),l=m@n;o$p'q",
            &"d".repeat(128),
        ] {
            assert_eq!(
                DeviceId::parse(good).map(|d| d.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in ["", "invalid/name", "sp ace", "ü", &"d".repeat(129)] {
            assert!(DeviceId::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            DeviceId::parse("ab/c").map_err(|e| e.to_string()),
            Err(format!(
                "device id has the character '/' at position 3, allowed are {IDENTITY_CHARACTERS}"
            ))
        );
    }

    #[test]
    fn job_ids_are_letters_digits_and_dashes() {
        assert!(JobId::parse(&"j".repeat(64)).is_ok());
        for bad in ["", "j 2", "j_2", &"j".repeat(65)] {
            assert!(JobId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn call_ids_survive_their_text_form() {
        for (term, number) in [
            (0, 0),
            (1, 17),
            (u32::MAX, 0xffff_ffff_ffff),
            (0xabc, 1 << 40),
        ] {
            let call = CallId {
                term: Term(term),
                number,
            };
            assert_eq!(CallId::parse(&call.to_string()), Some(call));
        }
        for bad in [
            "",
            "1",
            "0000000100000000000G",
            "000000010000000000000",
            "0000000100000000000A",
        ] {
            assert_eq!(CallId::parse(bad), None, "{bad}");
        }
    }
}
