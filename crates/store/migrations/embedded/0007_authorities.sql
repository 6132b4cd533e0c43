-- Certificate authorities that devices' certificates may come from. certificate is the DER. verified is 0 until somebody
-- proved to have the key; code is what the proof must name. Etags are drawn from the counter 'authority' of table hub.
CREATE TABLE authority (
    name        TEXT PRIMARY KEY,
    certificate BLOB NOT NULL,
    verified    INTEGER NOT NULL,
    code        TEXT,
    created     INTEGER NOT NULL,
    updated     INTEGER NOT NULL,
    etag        INTEGER NOT NULL
) WITHOUT ROWID;
