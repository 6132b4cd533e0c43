//! What each route takes and answers. Ids are those of the original's own description, so that generated
//! clients read alike; routes of our own follow the pattern.

/// What a route does, beside its path, method and rights.
#[derive(Debug)]
pub(super) struct Operation {
    method: &'static str,
    path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Parameter],
    /// The schema of the body, if it takes one.
    pub(super) body: Option<&'static str>,
    pub(super) answers: &'static [Answer],
    /// Statuses it refuses with, beside those that every guarded route has.
    pub(super) refusals: &'static [u16],
}

/// A parameter that is no part of the path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// `query` or `header`.
    pub(super) place: &'static str,
    pub(super) schema: &'static str,
    pub(super) meaning: &'static str,
}

/// An answer that says yes.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Empty for an answer without a body.
    pub(super) schema: &'static str,
    pub(super) meaning: &'static str,
    pub(super) is_page: bool,
}

/// The operation of a route.
pub(super) fn find(method: &str, path: &str) -> Option<&'static Operation> {
    OPERATIONS
        .iter()
        .find(|operation| operation.method == method && operation.path == path)
}

const IF_MATCH: Parameter = Parameter {
    name: "If-Match",
    place: "header",
    schema: "Etag",
    meaning: "The etag that must still hold, with or without quotes; * for any.",
};
const IF_NONE_MATCH: Parameter = Parameter {
    name: "If-None-Match",
    place: "header",
    schema: "Star",
    meaning: "* when it must not be there yet.",
};
const TOP: Parameter = Parameter {
    name: "top",
    place: "query",
    schema: "string",
    meaning: "How many at most, 1 to 1000; anything else means 1000.",
};
const PAGE_SIZE: Parameter = Parameter {
    name: "x-ms-max-item-count",
    place: "header",
    schema: "PageSize",
    meaning: "Items of a page, brought into 1 to 1000; 100 when absent.",
};
const CONTINUATION: Parameter = Parameter {
    name: "x-ms-continuation",
    place: "header",
    schema: "Continuation",
    meaning: "Where the page begins: what the page before said.",
};
const JOB_TYPE: Parameter = Parameter {
    name: "jobType",
    place: "query",
    schema: "JobTypeFilter",
    meaning: "Only jobs of this type.",
};
const JOB_STATUS: Parameter = Parameter {
    name: "jobStatus",
    place: "query",
    schema: "JobStatusFilter",
    meaning: "Only jobs with this status.",
};

const fn ok(schema: &'static str) -> Answer {
    Answer {
        status: 200,
        schema,
        meaning: "Done.",
        is_page: false,
    }
}

const fn page(schema: &'static str) -> Answer {
    Answer {
        is_page: true,
        meaning: "One page.",
        ..ok(schema)
    }
}

const NO_CONTENT: Answer = Answer {
    status: 204,
    schema: "",
    meaning: "Done.",
    is_page: false,
};

macro_rules! operations {
    ($(
        $method:ident $path:literal $id:ident $summary:literal
            $(takes $body:literal)? $(with [$($parameter:expr),+])? answers [$($answer:expr),+]
            $(refuses [$($status:literal),+])?;
    )+) => {
        const OPERATIONS: &[Operation] = &[$(
            Operation {
                method: stringify!($method),
                path: $path,
                id: stringify!($id),
                summary: $summary,
                parameters: &[$($($parameter),+)?],
                body: operations!(@body $($body)?),
                answers: &[$($answer),+],
                refusals: &[$($($status),+)?],
            },
        )+];
    };
    (@body) => { None };
    (@body $body:literal) => { Some($body) };
}

operations! {
    GET "/health/live" Health_Live "Whether the process runs." answers [ok("Health")];
    GET "/health/ready" Health_Ready "Whether the node serves."
        answers [ok("Health"), Answer { status: 503, meaning: "Not yet, or not any more.", ..ok("Health") }];
    GET "/fanfare/v1/metrics" Node_Metrics "All metrics in Prometheus' text form." answers [ok("text")] refuses [429];
    GET "/fanfare/v1/openapi.json" Node_OpenApi "This document." answers [ok("object")];
    GET "/fanfare/v1/profile" Node_Profile "The limits this hub imposes." answers [ok("object")] refuses [429];

    PUT "/jobs/v2/{job}" Jobs_CreateScheduledJob "Schedules a job." takes "JobRequest"
        answers [ok("Job")] refuses [403, 409, 412, 413, 429];
    GET "/jobs/v2/{job}" Jobs_GetScheduledJob "One job with its counts." answers [ok("Job")] refuses [404, 429];
    GET "/jobs/v2/query" Jobs_QueryScheduledJobs "Jobs from new to old."
        with [JOB_TYPE, JOB_STATUS, PAGE_SIZE, CONTINUATION] answers [page("[Job]")] refuses [429];
    POST "/jobs/v2/{job}/cancel" Jobs_CancelScheduledJob "Cancels a job: nothing of it begins after the answer."
        answers [ok("Job")] refuses [404, 405, 429];
    GET "/fanfare/v1/jobs/{job}/events" Jobs_WatchScheduledJob
        "A job as it changes, as server-sent events: at once, then at most five a second. Each `data` is the \
         job's document without what its caller sent; the one of its end is the last."
        answers [ok("events")] refuses [404, 429];
    GET "/jobs" Jobs_GetImportExportJobs "Import and export jobs." answers [ok("[TransferJob]")] refuses [429];
    GET "/jobs/{job}" Jobs_GetImportExportJob "One import or export job."
        answers [ok("TransferJob")] refuses [404, 429];
    DELETE "/jobs/{job}" Jobs_CancelImportExportJob "Cancels an import or export job."
        answers [ok("TransferJob"), NO_CONTENT] refuses [404, 429];
    POST "/jobs/create" Jobs_CreateImportExportJob "Begins an import or export of identities."
        takes "TransferJobRequest" answers [ok("TransferJob")] refuses [403, 404, 413, 429];

    GET "/devices" Devices_GetDevices "The first devices of the registry." with [TOP]
        answers [ok("[Device]")] refuses [429];
    GET "/devices/" Devices_GetDevicesSlash "The same, as some clients spell it." with [TOP]
        answers [ok("[Device]")] refuses [429];
    POST "/devices" BulkRegistry_UpdateRegistry "Up to a hundred changes, each failing alone." takes "[BulkItem]"
        answers [ok("BulkResult"), Answer { status: 400, meaning: "Some failed, or all.", ..ok("BulkRefusal") }]
        refuses [413, 429];
    POST "/devices/keys/regenerate" Devices_RegenerateKeys "New keys for up to a hundred identities."
        takes "RegenerateKeysRequest" answers [ok("RegenerateKeysResult")] refuses [413, 429];
    POST "/devices/query" Query_GetTwins "One page of twins, of projected rows, or of device jobs." takes "QueryRequest"
        with [PAGE_SIZE, CONTINUATION] answers [page("[object]")] refuses [413, 429];
    PUT "/devices/query" Devices_CreateOrUpdateIdentityNamedQuery "As for every other device." takes "DeviceRequest"
        with [IF_MATCH] answers [ok("Device")] refuses [404, 409, 412, 413, 429];
    GET "/devices/query" Devices_GetIdentityNamedQuery "As for every other device."
        answers [ok("Device")] refuses [404, 429];
    DELETE "/devices/query" Devices_DeleteIdentityNamedQuery "As for every other device." with [IF_MATCH]
        answers [NO_CONTENT] refuses [404, 412, 429];
    PUT "/devices/{device}" Devices_CreateOrUpdateIdentity "Creates a device, or changes it under If-Match."
        takes "DeviceRequest" with [IF_MATCH] answers [ok("Device")] refuses [404, 409, 412, 413, 429];
    GET "/devices/{device}" Devices_GetIdentity "One device with its keys." answers [ok("Device")] refuses [404, 429];
    DELETE "/devices/{device}" Devices_DeleteIdentity "Deletes a device with its modules and twins." with [IF_MATCH]
        answers [NO_CONTENT] refuses [404, 412, 429];
    DELETE "/devices/{device}/commands" CloudToDeviceMessages_PurgeMessages "Drops messages that wait for a device."
        answers [ok("PurgeResult")] refuses [404, 429];
    POST "/devices/{device}/applyConfigurationContent" Configuration_ApplyOnEdgeDevice
        "Writes a configuration's content to one device." takes "ConfigurationContent"
        answers [NO_CONTENT] refuses [404, 413, 429];
    GET "/statistics/devices" Statistics_GetDeviceStatistics "How many devices there are."
        answers [ok("DeviceStatistics")] refuses [429];
    GET "/statistics/service" Statistics_GetServiceStatistics "How many devices are connected."
        answers [ok("ServiceStatistics")] refuses [429];

    GET "/devices/{device}/modules" Modules_GetModulesOnDevice "The modules of a device."
        answers [ok("[Module]")] refuses [404, 429];
    PUT "/devices/{device}/modules/{module}" Modules_CreateOrUpdateIdentity
        "Creates a module, or changes it under If-Match." takes "ModuleRequest" with [IF_MATCH]
        answers [ok("Module")] refuses [404, 409, 412, 413, 429];
    GET "/devices/{device}/modules/{module}" Modules_GetIdentity "One module with its keys."
        answers [ok("Module")] refuses [404, 429];
    DELETE "/devices/{device}/modules/{module}" Modules_DeleteIdentity "Deletes a module with its twin."
        with [IF_MATCH] answers [NO_CONTENT] refuses [404, 412, 429];

    GET "/twins/{device}" Devices_GetTwin "The twin of a device." answers [ok("Twin")] refuses [404, 429];
    PATCH "/twins/{device}" Devices_UpdateTwin "Merges into tags and desired properties." takes "TwinRequest"
        with [IF_MATCH] answers [ok("Twin")] refuses [404, 412, 413, 429];
    PUT "/twins/{device}" Devices_ReplaceTwin "Replaces tags and desired properties." takes "TwinRequest"
        with [IF_MATCH] answers [ok("Twin")] refuses [404, 412, 413, 429];
    POST "/twins/{device}/methods" Devices_InvokeMethod "Calls a method and waits for the answer."
        takes "MethodRequest" answers [ok("MethodAnswer")] refuses [404, 413, 429, 502, 504];
    GET "/twins/{device}/modules/{module}" Modules_GetTwin "The twin of a module."
        answers [ok("Twin")] refuses [404, 429];
    PATCH "/twins/{device}/modules/{module}" Modules_UpdateTwin "Merges into tags and desired properties."
        takes "TwinRequest" with [IF_MATCH] answers [ok("Twin")] refuses [404, 412, 413, 429];
    PUT "/twins/{device}/modules/{module}" Modules_ReplaceTwin "Replaces tags and desired properties."
        takes "TwinRequest" with [IF_MATCH] answers [ok("Twin")] refuses [404, 412, 413, 429];
    POST "/twins/{device}/modules/{module}/methods" Modules_InvokeMethod "Calls a method and waits for the answer."
        takes "MethodRequest" answers [ok("MethodAnswer")] refuses [404, 413, 429, 502, 504];

    GET "/fanfare/v1/policies" Policy_GetPolicies "The shared access policies, without their keys."
        answers [ok("[PolicyListed]")] refuses [429];
    GET "/fanfare/v1/policies/{policy}" Policy_Get "One policy with its keys."
        answers [ok("Policy")] refuses [404, 429];
    PUT "/fanfare/v1/policies/{policy}" Policy_CreateOrUpdate
        "Creates or changes a policy; keys that are not named stay, or are made." takes "PolicyRequest"
        with [IF_MATCH, IF_NONE_MATCH] answers [ok("Policy")] refuses [403, 404, 409, 412, 413, 415, 429];
    DELETE "/fanfare/v1/policies/{policy}" Policy_Delete "Deletes a policy, but not the last with all rights."
        with [IF_MATCH] answers [NO_CONTENT] refuses [404, 412, 413, 415, 429];
    POST "/fanfare/v1/policies/{policy}/rotate" Policy_Rotate
        "Gives a policy one new key, or makes its keys change places." takes "RotateRequest"
        with [IF_MATCH] answers [ok("Policy")] refuses [404, 412, 413, 415, 429];
    GET "/fanfare/v1/authorities" Authority_GetAuthorities "The uploaded authorities, without their certificates."
        answers [ok("[AuthorityListed]")] refuses [429];
    GET "/fanfare/v1/authorities/{authority}" Authority_Get "One authority with its certificate."
        answers [ok("Authority")] refuses [404, 429];
    PUT "/fanfare/v1/authorities/{authority}" Authority_CreateOrUpdate
        "Uploads an authority's certificate. It vouches for no device before somebody proves to have its key."
        takes "AuthorityRequest" with [IF_MATCH, IF_NONE_MATCH] answers [ok("Authority")]
        refuses [403, 404, 409, 412, 413, 415, 429];
    DELETE "/fanfare/v1/authorities/{authority}" Authority_Delete
        "Deletes an authority; devices that it alone vouches for are disconnected."
        with [IF_MATCH] answers [NO_CONTENT] refuses [404, 412, 413, 415, 429];
    POST "/fanfare/v1/authorities/{authority}/code" Authority_MakeVerificationCode
        "Makes a new code for the proof that somebody has the authority's key."
        with [IF_MATCH] answers [ok("AuthorityWithCode")] refuses [404, 412, 413, 415, 429];
    POST "/fanfare/v1/authorities/{authority}/verify" Authority_Verify
        "Takes the proof: a certificate that the authority's key signed, with the code as its common name."
        takes "AuthorityRequest" with [IF_MATCH] answers [ok("Authority")] refuses [404, 412, 413, 415, 429];
    GET "/configurations" Configuration_GetConfigurations "The first configurations." with [TOP]
        answers [ok("[Configuration]")] refuses [429];
    GET "/configurations/{configuration}" Configuration_Get "One configuration with its metrics."
        answers [ok("Configuration")] refuses [404, 429];
    PUT "/configurations/{configuration}" Configuration_CreateOrUpdate
        "Creates a configuration, or changes it under If-Match." takes "ConfigurationRequest" with [IF_MATCH]
        answers [ok("Configuration"), Answer { status: 201, ..ok("Configuration") }]
        refuses [403, 404, 409, 412, 413, 429];
    DELETE "/configurations/{configuration}" Configuration_Delete "Deletes a configuration." with [IF_MATCH]
        answers [NO_CONTENT] refuses [404, 412, 429];
    POST "/configurations/testQueries" Configuration_TestQueries "Checks a target condition and metric queries."
        takes "TestQueriesRequest" answers [ok("TestQueriesResult")] refuses [413, 429];
}
