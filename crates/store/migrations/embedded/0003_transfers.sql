-- Import and export jobs. state: 0 waiting, 1 running, 2 completed, 3 failed, 4 cancelled.
CREATE TABLE transfer (
    number  INTEGER PRIMARY KEY,
    id      TEXT NOT NULL,
    state   INTEGER NOT NULL,
    created INTEGER NOT NULL,
    started INTEGER,
    ended   INTEGER,
    percent INTEGER NOT NULL,
    reason  TEXT,
    record  BLOB NOT NULL
);
CREATE UNIQUE INDEX transfer_id ON transfer (id);
CREATE INDEX transfer_active ON transfer (number) WHERE state < 2;
CREATE INDEX transfer_ended ON transfer (ended) WHERE state >= 2;
