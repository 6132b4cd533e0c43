-- The data key under which keys are encrypted, itself sealed under a master key that is not in the store. At most
-- one row; without it keys lie as they are.
CREATE TABLE vault (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    record BLOB NOT NULL,
    -- 0 keys are being encrypted, 1 they are, 2 they are being decrypted
    state  INTEGER NOT NULL,
    -- the identities up to this key are done
    last   INTEGER NOT NULL
);

-- Encrypting an identity's keys changes nothing that a configuration looks at. What does moves the etag, too.
DROP TRIGGER configuration_identity_changed;
CREATE TRIGGER configuration_identity_changed AFTER UPDATE OF etag ON identity
WHEN EXISTS (SELECT 1 FROM configuration) BEGIN
    INSERT INTO configuration_dirty (key, stamp) VALUES (NEW.key, 1)
        ON CONFLICT (key) DO UPDATE SET stamp = stamp + 1;
END;
