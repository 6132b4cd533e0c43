//! Who may take which route, written down by hand from the contract, not from the code.

/// One route: its method, its path, the rights that open it, and the roles that do.
pub(super) type Row = (&'static str, &'static str, Rights, &'static str);

/// Any one of these sets of rights does; a route that nothing is needed for has the empty set.
pub(super) type Rights = &'static [&'static [&'static str]];

const OPEN: Rights = &[&[]];
const READ: Rights = &[&["RegistryRead"]];
const WRITE: Rights = &[&["RegistryWrite"]];
const SERVICE: Rights = &[&["ServiceConnect"]];
const READ_OR_SERVICE: Rights = &[&["RegistryRead"], &["ServiceConnect"]];
const WRITE_OR_SERVICE: Rights = &[&["RegistryWrite"], &["ServiceConnect"]];
const OWNER: Rights = &[&[
    "RegistryRead",
    "RegistryWrite",
    "ServiceConnect",
    "DeviceConnect",
]];

/// The roles by their letters, as rows name them.
pub(super) const ROLES: [(char, &str); 5] = [
    ('C', "IoT Hub Data Contributor"),
    ('R', "IoT Hub Data Reader"),
    ('G', "IoT Hub Registry Contributor"),
    ('T', "IoT Hub Twin Contributor"),
    ('O', "Fanfare Owner"),
];

/// Every route there is. What a route does decides its rights (docs/compat/auth.md, AUTH-12) and the data actions
/// it needs (AUTH-14); which roles have those is in AUTH-15.
pub(super) const TABLE: &[Row] = &[
    ("GET", "/health/live", OPEN, "CRGTO"),
    ("GET", "/health/ready", OPEN, "CRGTO"),
    ("GET", "/fanfare/v1/openapi.json", OPEN, "CRGTO"),
    // statistics/read
    ("GET", "/fanfare/v1/metrics", READ_OR_SERVICE, "CRO"),
    ("GET", "/fanfare/v1/profile", READ_OR_SERVICE, "CRO"),
    ("GET", "/statistics/devices", READ, "CRO"),
    ("GET", "/statistics/service", SERVICE, "CRO"),
    // jobs/read, jobs/write, jobs/delete
    ("GET", "/jobs/v2/{job}", READ_OR_SERVICE, "CRO"),
    ("GET", "/jobs/v2/query", READ_OR_SERVICE, "CRO"),
    (
        "GET",
        "/fanfare/v1/jobs/{job}/events",
        READ_OR_SERVICE,
        "CRO",
    ),
    ("PUT", "/jobs/v2/{job}", WRITE_OR_SERVICE, "CO"),
    ("POST", "/jobs/v2/{job}/cancel", WRITE_OR_SERVICE, "CO"),
    ("GET", "/jobs", READ_OR_SERVICE, "CRO"),
    ("GET", "/jobs/{job}", READ_OR_SERVICE, "CRO"),
    ("DELETE", "/jobs/{job}", WRITE, "CO"),
    // devices/read, devices/write, devices/delete and jobs/write: it moves whole registries.
    ("POST", "/jobs/create", WRITE, "CO"),
    // twins/read; what the query reads is asked for again.
    ("POST", "/devices/query", READ_OR_SERVICE, "CRTO"),
    // configurations/...
    ("GET", "/configurations", READ, "CRO"),
    ("GET", "/configurations/{configuration}", READ, "CRO"),
    ("PUT", "/configurations/{configuration}", WRITE, "CO"),
    ("DELETE", "/configurations/{configuration}", WRITE, "CO"),
    ("POST", "/configurations/testQueries", READ, "CO"),
    (
        "POST",
        "/devices/{device}/applyConfigurationContent",
        WRITE,
        "CO",
    ),
    // devices/...
    ("GET", "/devices", READ, "CRGO"),
    ("GET", "/devices/", READ, "CRGO"),
    ("GET", "/devices/{device}", READ, "CRGO"),
    ("GET", "/devices/query", READ, "CRGO"),
    ("PUT", "/devices/{device}", WRITE, "CGO"),
    ("PUT", "/devices/query", WRITE, "CGO"),
    ("DELETE", "/devices/{device}", WRITE, "CGO"),
    ("DELETE", "/devices/query", WRITE, "CGO"),
    ("POST", "/devices", WRITE, "CGO"),
    ("POST", "/devices/keys/regenerate", WRITE, "CGO"),
    ("GET", "/devices/{device}/modules", READ, "CRGO"),
    ("GET", "/devices/{device}/modules/{module}", READ, "CRGO"),
    ("PUT", "/devices/{device}/modules/{module}", WRITE, "CGO"),
    ("DELETE", "/devices/{device}/modules/{module}", WRITE, "CGO"),
    // cloudToDeviceMessages/queue/purge/action
    ("DELETE", "/devices/{device}/commands", SERVICE, "CO"),
    // twins/read, twins/write
    ("GET", "/twins/{device}", SERVICE, "CRTO"),
    ("PATCH", "/twins/{device}", SERVICE, "CTO"),
    ("PUT", "/twins/{device}", SERVICE, "CTO"),
    ("GET", "/twins/{device}/modules/{module}", SERVICE, "CRTO"),
    ("PATCH", "/twins/{device}/modules/{module}", SERVICE, "CTO"),
    ("PUT", "/twins/{device}/modules/{module}", SERVICE, "CTO"),
    // directMethods/invoke/action
    ("POST", "/twins/{device}/methods", SERVICE, "CO"),
    (
        "POST",
        "/twins/{device}/modules/{module}/methods",
        SERVICE,
        "CO",
    ),
    // fanfare/policies/...: keys of policies open everything.
    ("GET", "/fanfare/v1/policies", OWNER, "O"),
    ("GET", "/fanfare/v1/policies/{policy}", OWNER, "O"),
    ("PUT", "/fanfare/v1/policies/{policy}", OWNER, "O"),
    ("DELETE", "/fanfare/v1/policies/{policy}", OWNER, "O"),
    ("POST", "/fanfare/v1/policies/{policy}/rotate", OWNER, "O"),
    // fanfare/authorities/...: whoever adds an authority makes devices of its own.
    ("GET", "/fanfare/v1/authorities", OWNER, "O"),
    ("GET", "/fanfare/v1/authorities/{authority}", OWNER, "O"),
    ("PUT", "/fanfare/v1/authorities/{authority}", OWNER, "O"),
    ("DELETE", "/fanfare/v1/authorities/{authority}", OWNER, "O"),
    (
        "POST",
        "/fanfare/v1/authorities/{authority}/code",
        OWNER,
        "O",
    ),
    (
        "POST",
        "/fanfare/v1/authorities/{authority}/verify",
        OWNER,
        "O",
    ),
];
