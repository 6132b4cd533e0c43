-- key = space << 32 | ordinal (space 0 devices, 1 modules). Times are microseconds since the epoch.
-- Columns named `record` start with a version byte and a checksum (src/record.rs).

CREATE TABLE hub (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE policy (
    name          TEXT PRIMARY KEY,
    rights        INTEGER NOT NULL,
    primary_key   TEXT NOT NULL,
    secondary_key TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE identity (
    key        INTEGER PRIMARY KEY,
    device_id  TEXT NOT NULL,
    module_id  TEXT NOT NULL DEFAULT '',
    generation INTEGER NOT NULL,
    etag       INTEGER NOT NULL,
    enabled    INTEGER NOT NULL,
    record     BLOB NOT NULL
);
CREATE UNIQUE INDEX identity_name ON identity (device_id, module_id);

CREATE TABLE twin (
    key              INTEGER PRIMARY KEY,
    version          INTEGER NOT NULL,
    etag             INTEGER NOT NULL,
    desired_version  INTEGER NOT NULL,
    reported_version INTEGER NOT NULL,
    record           BLOB NOT NULL,
    metadata         BLOB NOT NULL
);

CREATE TABLE activity (
    key INTEGER PRIMARY KEY,
    at  INTEGER NOT NULL
);

CREATE TABLE session (
    key    INTEGER PRIMARY KEY,
    used   INTEGER NOT NULL,
    record BLOB NOT NULL
);
CREATE INDEX session_used ON session (used);

-- Deleted identities that a job may still name.
CREATE TABLE tombstone (
    key        INTEGER PRIMARY KEY,
    device_id  TEXT NOT NULL,
    module_id  TEXT NOT NULL,
    generation INTEGER NOT NULL,
    -- The newest job at the deletion: no later one can name it.
    last_job   INTEGER NOT NULL
);
CREATE INDEX tombstone_name ON tombstone (device_id, module_id);
CREATE INDEX tombstone_last_job ON tombstone (last_job);

-- What changes of a job. state: 0 waiting, 1 running, 2 draining, 3 completed, 4 cancelled, 5 failed,
-- 6 being removed: nobody sees it any more.
CREATE TABLE job (
    number    INTEGER PRIMARY KEY,
    id        TEXT NOT NULL,
    operation INTEGER NOT NULL,
    space     INTEGER NOT NULL,
    state     INTEGER NOT NULL,
    created   INTEGER NOT NULL,
    start     INTEGER NOT NULL,
    sealed    INTEGER,
    canceled_at INTEGER,
    ended     INTEGER,
    reason    TEXT,
    term      INTEGER NOT NULL,
    total     INTEGER,
    succeeded INTEGER,
    failed    INTEGER,
    running   INTEGER,
    canceled  INTEGER,
    rest      INTEGER,
    rest_at   INTEGER
);
CREATE UNIQUE INDEX job_id ON job (id);
CREATE INDEX job_waiting ON job (start) WHERE state = 0;
CREATE INDEX job_running ON job (number) WHERE state IN (1, 2);
CREATE INDEX job_ended ON job (ended) WHERE state >= 3;

-- What never changes of a job.
CREATE TABLE job_plan (
    number         INTEGER PRIMARY KEY,
    record         BLOB NOT NULL,
    condition_bytes  INTEGER NOT NULL,
    condition_sha256 BLOB NOT NULL,
    condition_text   TEXT NOT NULL
);

CREATE TABLE job_targets (
    number INTEGER NOT NULL,
    chunk  INTEGER NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (number, chunk)
);

-- kind: 0 dispatched, 1 withdrawn, 2 settled. A sequence is never used again: checkpoints name one.
CREATE TABLE job_segment (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    number   INTEGER NOT NULL,
    term     INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    level    INTEGER NOT NULL,
    first    INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    entries  INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,
    record   BLOB NOT NULL
);
CREATE INDEX job_segment_range ON job_segment (number, kind, last);

-- Answers too large for a segment.
CREATE TABLE job_payload (
    number  INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    record  BLOB NOT NULL,
    PRIMARY KEY (number, ordinal)
);

-- The settled sets as of the segment `sequence`.
CREATE TABLE job_checkpoint (
    number   INTEGER PRIMARY KEY,
    sequence INTEGER NOT NULL,
    record   BLOB NOT NULL
);
