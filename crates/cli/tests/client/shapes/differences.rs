//! Where our requests differ from the Node SDK's on purpose, each with its reason.

/// An allowed difference: in which calls (their names before a colon), where, and why.
pub(crate) struct Allowed {
    pub(crate) calls: &'static [&'static str],
    pub(crate) place: &'static str,
    pub(crate) why: &'static str,
}

impl Allowed {
    /// Whether it is about this place of this call.
    pub(crate) fn fits(&self, call: &str, place: &str) -> bool {
        let method = call.split(':').next().unwrap_or(call);
        self.place == place && self.calls.contains(&method)
    }
}

pub(crate) const ALLOWED: &[Allowed] = &[
    Allowed {
        calls: &["JobClient.createQuery", "Registry.createQuery"],
        place: "headers/x-ms-max-item-count",
        why: "a pager always says how much it can take; 1,000 is the most the contract knows",
    },
    Allowed {
        calls: &["JobClient.scheduleTwinUpdate"],
        place: "body/updateTwin/etag",
        why: "the contract wants the wildcard; Node leaves it to the caller, whose patch here has none",
    },
    Allowed {
        calls: &[
            "JobClient.fromTokenCredential",
            "Registry.fromTokenCredential",
        ],
        place: "requests",
        why: "after a 401 a token is asked for anew and the call repeated, once",
    },
    Allowed {
        calls: &[
            "Registry.list",
            "Registry.fromConnectionString",
            "Registry.fromSharedAccessSignature",
            "Registry.fromTokenCredential",
        ],
        place: "path",
        why: "Python's path, without the slash at the end; the contract has both",
    },
    Allowed {
        calls: &["Registry.create"],
        place: "body/status",
        why: "the document says what a device is; enabled is what the hub makes of silence",
    },
    Allowed {
        calls: &["Registry.addDevices", "Registry.updateDevices"],
        place: "body/-/status",
        why: "as for one device",
    },
    Allowed {
        calls: &["Registry.updateDevices", "Registry.removeDevices"],
        place: "body/-/importMode",
        why: "the contract's own spelling begins with a small letter; hubs read both",
    },
    Allowed {
        calls: &["Registry.updateDevices", "Registry.removeDevices"],
        place: "body/-/etag",
        why: "the published item calls it eTag",
    },
    Allowed {
        calls: &["Registry.updateDevices", "Registry.removeDevices"],
        place: "body/-/eTag",
        why: "the published item calls it eTag",
    },
    Allowed {
        calls: &["Registry.removeDevices"],
        place: "body/-/authentication",
        why: "what is deleted needs no keys; Node adds them to every item",
    },
    Allowed {
        calls: &["Registry.updateModule", "Registry.updateConfiguration"],
        place: "body/etag",
        why: "the precondition is the header; in a body an etag is none",
    },
    Allowed {
        calls: &["Registry.removeConfiguration"],
        place: "headers/if-match",
        why: "Python's form, which says that any version is meant",
    },
    Allowed {
        calls: &[
            "Registry.exportDevicesToBlobByIdentity",
            "Registry.importDevicesFromBlobByIdentity",
        ],
        place: "body/storageAuthenticationType",
        why: "the contract's own spelling begins with a small letter; hubs read both",
    },
];
