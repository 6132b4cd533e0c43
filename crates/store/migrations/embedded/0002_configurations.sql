-- number: the order of creation; never used again.
CREATE TABLE configuration (
    number          INTEGER PRIMARY KEY,
    id              TEXT NOT NULL,
    etag            INTEGER NOT NULL,
    content_version INTEGER NOT NULL,
    created         INTEGER NOT NULL,
    updated         INTEGER NOT NULL,
    record          BLOB NOT NULL,
    -- What the last whole pass counted; absent before the first.
    results         BLOB
);
CREATE UNIQUE INDEX configuration_id ON configuration (id);

-- What configurations gave to an identity. Goes with it.
CREATE TABLE configuration_applied (
    key    INTEGER PRIMARY KEY,
    record BLOB NOT NULL
);

-- Identities that changed since they were last compared. The stamp moves with every further change, so
-- that a change made meanwhile is not wiped out with the mark.
CREATE TABLE configuration_dirty (
    key   INTEGER PRIMARY KEY,
    stamp INTEGER NOT NULL
);

-- Whoever writes an identity or a twin leaves the mark, in the same transaction. Without configurations
-- this costs a look into an empty table.
CREATE TRIGGER configuration_identity_new AFTER INSERT ON identity
WHEN EXISTS (SELECT 1 FROM configuration) BEGIN
    INSERT INTO configuration_dirty (key, stamp) VALUES (NEW.key, 1)
        ON CONFLICT (key) DO UPDATE SET stamp = stamp + 1;
END;
CREATE TRIGGER configuration_identity_changed AFTER UPDATE ON identity
WHEN EXISTS (SELECT 1 FROM configuration) BEGIN
    INSERT INTO configuration_dirty (key, stamp) VALUES (NEW.key, 1)
        ON CONFLICT (key) DO UPDATE SET stamp = stamp + 1;
END;
CREATE TRIGGER configuration_twin_changed AFTER UPDATE ON twin
WHEN EXISTS (SELECT 1 FROM configuration) BEGIN
    INSERT INTO configuration_dirty (key, stamp) VALUES (NEW.key, 1)
        ON CONFLICT (key) DO UPDATE SET stamp = stamp + 1;
END;
CREATE TRIGGER configuration_identity_gone AFTER DELETE ON identity BEGIN
    DELETE FROM configuration_applied WHERE key = OLD.key;
    DELETE FROM configuration_dirty WHERE key = OLD.key;
END;
